"""MindSpore's own graph of a network, written and read back."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from beit_exp.inference.network import as_function
from beit_exp.weights.mindspore_graph import read_mindir, write_graph


class Colours(nn.Cell):
    """A dense layer over the mean colour of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Dense(3, 4)

    def construct(self, images_BCSS: Tensor) -> Tensor:
        return self.head(images_BCSS.mean(axis=(2, 3)))


def test_a_mindir_file_has_the_networks_logits_at_any_batch(tmp_path: Path) -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    folder = tmp_path / "a b=(数据)"
    network, path = Colours(), folder / "colours.mindir"
    write_graph(network, path, image_size=8, form="MINDIR")
    assert [file.name for file in folder.iterdir()] == ["colours.mindir"]
    reloaded = as_function(read_mindir(path))
    weight, bias = network.head.weight.asnumpy(), network.head.bias.asnumpy()
    for batch in (1, 3):
        images = np.random.default_rng(batch).standard_normal((batch, 3, 8, 8), np.float32)
        expected = images.mean(axis=(2, 3)) @ weight.T + bias
        np.testing.assert_allclose(reloaded(images), expected, rtol=1e-5, atol=1e-6)
