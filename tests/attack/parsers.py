"""What reads bytes that somebody else wrote, with files to begin from, and what must hold of each.

A parser ends in a value or a `UserError`, whatever the bytes; `Parser.check` says more where a
value can be wrong.
"""

from __future__ import annotations

import io
import json
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import yaml
from mindspore import Parameter, Tensor
from mindspore.train.checkpoint_pb2 import Checkpoint
from PIL import Image
from safetensors.numpy import save
from sharded import write_tar

from beit_exp.config.augment_policy import parse_policy
from beit_exp.config.mapping import build_config, load_config
from beit_exp.data import archives, label_list, shards
from beit_exp.data.decoding import load_image
from beit_exp.data.label_table import read_label_table
from beit_exp.errors import UserError
from beit_exp.launch.overrides import typed_values
from beit_exp.tracking.records import read_split
from beit_exp.train.checkpoint import load_checkpoint, save_checkpoint
from beit_exp.weights.read import read_weights

NAMES = ("blocks.0.attn.proj.weight", "blocks.0.attn.qkv.weight", "blocks.0.norm1.bias")
STATE = {"trainer": {"step": 15}, "classes": ["cat", "dog"]}
FORMATS = {"jpg": "JPEG", "png": "PNG", "bmp": "BMP", "webp": "WEBP", "tif": "TIFF", "ppm": "PPM"}
FLAT = ("a.png", "b.png", "c.png")
LABELS = [b"a.png cat\nb.png dog\nc.png cat\n", b"a.png 0\nb.png,1\nc.png 1"]
TABLES = [
    b'path,label,split,group\na.png,cat|dog,train,1\nb.png,"cat",val,2\nc.png,,test,3\n',
    b"label,path\r\ncat,a.png\r\ndog,b.png\r\ndog|elk,c.png\r\n",
]
SPLITS = [b'path,label,split,group\na.png,cat,train,1\nb.png,"d, og",val,2\n']
POLICIES = [b"rand-m9-mstd0.5-inc1", b"rand-m7-n3-mmax8"]


@dataclass(frozen=True)
class Parser:
    """One reader of foreign bytes."""

    name: str
    file: str  # what its files are called
    seeds: Callable[[Path], list[bytes]]  # whole ones, made in a folder
    read: Callable[[Path], Any]
    check: Callable[[Any, Any], bool] = lambda found, whole: True  # of a mutant, and its original


def refused(parser: Parser, content: bytes, folder: Path) -> tuple[bool, Any]:
    """(whether the bytes are refused, what they are read as); any other error is raised."""
    path = folder / parser.file
    path.write_bytes(content)
    try:
        return False, parser.read(path)
    except UserError as error:
        assert str(error).strip()
        return True, None


def arrays() -> dict[str, np.ndarray]:
    """A few small tensors with names of a network."""
    shapes = [(3, 2), (6, 2), (4,)]
    rng = np.random.default_rng(0)
    return {name: rng.random(shape, np.float32) for name, shape in zip(NAMES, shapes, strict=True)}


class Torch:
    """Pickles as torch's tensors do, without torch."""

    def __init__(self, key: str, array: np.ndarray) -> None:
        self.key = key
        self.array = array

    def __reduce__(self) -> tuple[Any, ...]:
        stride = [step // self.array.itemsize for step in self.array.strides]
        storage = Stored(self.key, self.array.size)
        return _Named("torch._utils", "_rebuild_tensor_v2"), (
            *(storage, 0, self.array.shape, tuple(stride), False, OrderedDict()),
        )


@dataclass
class Stored:
    """A storage, which a pickle names by an identifier."""

    key: str
    count: int


class _Named:
    """Stands for a function or a class of torch's, and is never called."""

    def __init__(self, module: str, name: str) -> None:
        self.__module__, self.__qualname__ = module, name

    def __call__(self) -> None: ...


class _TorchPickler(pickle._Pickler):  # type: ignore[name-defined]
    """Python's own pickler: the one in C looks every name up."""

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, Stored):
            return ("storage", _Named("torch", "FloatStorage"), value.key, "cpu", value.count)
        return None

    def save_global(self, value: Any, name: str | None = None) -> None:
        self.write(pickle.GLOBAL + f"{value.__module__}\n{value.__qualname__}\n".encode())

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, _Named):
            self.save_global(value)
        else:
            super().save(value, save_persistent_id)


def torch_files(folder: Path) -> list[bytes]:
    files = []
    for wrap in (lambda found: found, lambda found: {"model": found, "epoch": 3, "args": None}):
        found = OrderedDict(
            (name, Torch(str(number), array))
            for number, (name, array) in enumerate(arrays().items())
        )
        description = io.BytesIO()
        _TorchPickler(description, protocol=2).dump(wrap(found))
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", description.getvalue())
            archive.writestr("archive/version", "3\n")
            for number, array in enumerate(arrays().values()):
                archive.writestr(f"archive/data/{number}", array.tobytes())
        files.append(file.getvalue())
    return files


def mindspore_files(folder: Path) -> list[bytes]:
    path = folder / "seed.ckpt"
    found = [{"name": name, "data": Tensor(array)} for name, array in arrays().items()]
    files = []
    for with_checksum in (False, True):
        ms.save_checkpoint(found, str(path), crc_check=with_checksum)
        files.append(path.read_bytes())
        path.unlink()
    message = Checkpoint()
    for _ in range(2):  # two slices of one array
        value = message.value.add()
        value.tag, value.tensor.tensor_type = NAMES[0], "Float32"
        value.tensor.dims.extend([4])
        value.tensor.tensor_content = bytes(8)
    return [*files, message.SerializeToString()]


def own_checkpoints(folder: Path) -> list[bytes]:
    tensors = {f"model/{name}": Parameter(array, name=name) for name, array in arrays().items()}
    path = folder / "seed.safetensors"
    save_checkpoint(path, tensors, STATE)
    return [path.read_bytes()]


def read_own(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    found = load_checkpoint(path)
    return json.dumps(found.state), found.tensors


def is_same_checkpoint(found: Any, whole: Any) -> bool:
    return (
        found[0] == whole[0]
        and found[1].keys() == whole[1].keys()
        and all(
            found[1][name].dtype == array.dtype and np.array_equal(found[1][name], array)
            for name, array in whole[1].items()
        )
    )


def picture(kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def pictures(folder: Path) -> list[bytes]:
    return [picture(kind) for kind in FORMATS.values()]


def tars(folder: Path) -> list[bytes]:
    files = []
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=kind) as tar:
            for name in ("cat/1.png", "cat/2.png", "dog/2.png", "dog/1.png"):
                member = tarfile.TarInfo(name)
                if name == "dog/2.png":  # not the last: zeros in place of its block would be an end
                    member.type, member.linkname = tarfile.LNKTYPE, "cat/1.png"
                else:
                    member.size = len(picture())
                tar.addfile(member, io.BytesIO(picture()))
        files.append(file.getvalue())
    return files


def read_tar(path: Path) -> list[tuple[str, int, int]]:
    found = archives.index.__wrapped__(str(path))
    return list(zip(found.names, found.offsets.tolist(), found.sizes.tolist(), strict=True))


def shard_files(folder: Path) -> list[bytes]:
    labels = ((b"1", b"0\n"), (b"dog", b"cat"))
    files = []
    for pair in labels:
        members = [("b.cls", pair[0]), ("b.png", picture()), ("a.cls", pair[1])]
        write_tar(folder / "seed.tar", [*members, ("a.png", picture())])
        files.append((folder / "seed.tar").read_bytes())
    return files


def read_shard(path: Path) -> shards.Labelled:
    for kept in (archives.index, shards._indexes, shards._label_texts):
        kept.cache_clear()
    return shards.labelled_in([path])


def has_two_images(found: shards.Labelled, whole: shards.Labelled) -> bool:
    return found.paths == whole.paths and sorted(found.labels.tolist()) == [0, 1]


def flat_folder(folder: Path) -> Path:
    """A folder with empty images."""
    place = folder / "flat"
    place.mkdir(exist_ok=True)
    for name in FLAT:
        (place / name).touch()
    return place


def read_labels(path: Path) -> dict[str, int]:
    found = label_list.list_labelled(flat_folder(path.parent), path, 2, ["cat", "dog"])
    return dict(zip(found.paths, found.labels.tolist(), strict=True))


def read_table(path: Path) -> dict[str, Any]:
    place = flat_folder(path.parent)
    found = read_label_table(path, place, num_classes=None, needs_groups=False, multi_label=True)
    return dict(zip(found.images.paths, found.images.labels.tolist(), strict=True))


def read_policy(path: Path) -> Any:
    try:
        return parse_policy(path.read_text(errors="replace"))
    except ValueError as error:  # the settings' complaint has its words
        raise UserError(str(error)) from error


def settings(folder: Path) -> list[bytes]:
    return [yaml.safe_dump(build_config(typed_values([])).model_dump(), sort_keys=False).encode()]


PARSERS = [
    Parser("torch", "w.pth", torch_files, read_weights),
    Parser("mindspore", "w.ckpt", mindspore_files, read_weights),
    Parser("safetensors", "w.safetensors", lambda _: [save(arrays())], read_weights),
    Parser("checkpoint", "c.safetensors", own_checkpoints, read_own, is_same_checkpoint),
    Parser("tar", "t.tar", tars, read_tar, lambda found, whole: found == whole),
    Parser("shard", "s.tar", shard_files, read_shard, has_two_images),
    Parser("labels", "l.txt", lambda _: LABELS, read_labels),
    Parser("table", "l.csv", lambda _: TABLES, read_table),
    Parser("split", "s.csv", lambda _: SPLITS, read_split),
    Parser("policy", "p.txt", lambda _: POLICIES, read_policy),
    Parser("config", "config.yaml", settings, load_config),
    Parser("image", "i.png", pictures, load_image),
]
