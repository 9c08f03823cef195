"""A network as a graph of MindSpore's own formats, for any batch size."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Literal

import mindspore as ms
from mindspore import Tensor, nn

from beit_exp.storage.files import replacing


def write_graph(
    network: nn.Cell, path: Path, *, image_size: int, form: Literal["MINDIR", "AIR"]
) -> None:
    """A portable network as a file; AIR, Ascend's offline format, is written on its cards alone."""
    # The exporter insists on the ending, and on plain letters in the whole path
    with replacing(path) as temporary, tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / f"graph{path.suffix}"
        images = Tensor(shape=[None, 3, image_size, image_size], dtype=ms.float32)
        ms.export(network, images, file_name=str(plain), file_format=form)
        shutil.copyfile(plain, temporary)


def read_mindir(path: Path) -> nn.Cell:
    """The network of a MINDIR file: (B, 3, S, S) images -> (B, K) logits."""
    return nn.GraphCell(ms.load(str(path)))
