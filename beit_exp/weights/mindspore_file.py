"""Read a checkpoint that MindSpore wrote, bounded by its bytes.

MindSpore's own reader trusts the shapes in a file. Source: mindspore/train/checkpoint.proto and
serialization.py of 2.10.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import numpy as np
from mindspore.train.checkpoint_pb2 import Checkpoint

from beit_exp.storage.foreign import reading
from beit_exp.weights import bfloat16

TYPES: dict[str, np.dtype] = {
    "Float32": np.dtype("<f4"),
    "Float16": np.dtype("<f2"),
    "Float64": np.dtype("<f8"),
    "BFloat16": bfloat16.BITS,
    "Int8": np.dtype("<i1"),
    "Int16": np.dtype("<i2"),
    "Int32": np.dtype("<i4"),
    "Int64": np.dtype("<i8"),
    "UInt8": np.dtype("<u1"),
    "UInt16": np.dtype("<u2"),
    "UInt32": np.dtype("<u4"),
    "UInt64": np.dtype("<u8"),
    "Bool": np.dtype("?"),
}
TEXT = "str"  # notes, such as the version that wrote the file
CRC, CRC_BYTES = b"crc_num", 10  # what may stand at the end, and its number


def read_mindspore_file(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .ckpt by their names; `UserError` for whatever is none."""
    with reading(path, "cannot be read as a MindSpore checkpoint"):
        message = Checkpoint()
        message.ParseFromString(checked(path.read_bytes()))
        return arrays_of(message)


def checked(content: bytes) -> bytes:
    """Without the checksum at the end, where there is one; `ValueError` if it is another's."""
    start = len(content) - CRC_BYTES - len(CRC)
    if start < 0 or not content.startswith(CRC, start):
        return content
    if zlib.crc32(content[:start]) != int.from_bytes(content[-CRC_BYTES:], "big"):
        raise ValueError("its checksum does not match its content")
    return content[:start]


def arrays_of(message: Checkpoint) -> dict[str, np.ndarray]:
    """Large arrays lie in slices, one behind the other under the same name."""
    slices: dict[str, list[bytes]] = {}
    headers: dict[str, tuple[str, tuple[int, ...]]] = {}
    for value in message.value:
        if not value.HasField("tensor"):
            raise ValueError(f"{value.tag} is no tensor")
        if not isinstance(value.tag, str):  # protobuf gives bytes where they are not UTF-8
            raise ValueError(f"the name {value.tag!r} is not UTF-8")
        tensor = value.tensor
        if tensor.tensor_type == TEXT:
            continue
        header = (tensor.tensor_type, tuple(tensor.dims))
        if headers.setdefault(value.tag, header) != header:
            raise ValueError(f"{value.tag} is there twice, and unlike")
        slices.setdefault(value.tag, []).append(tensor.tensor_content)
    return {
        name: to_array(name, kind, dims, b"".join(slices[name]))
        for name, (kind, dims) in headers.items()
    }


def to_array(name: str, kind: str, dims: tuple[int, ...], content: bytes) -> np.ndarray:
    """`ValueError` unless the bytes are as many as type and dimensions say."""
    if kind not in TYPES:
        raise ValueError(f"{name} is of {kind}; known are {', '.join(TYPES)}")
    shape = () if dims == (0,) and content else dims  # so MindSpore writes a scalar
    if any(count < 0 for count in shape) or math.prod(shape) * TYPES[kind].itemsize != len(content):
        raise ValueError(f"{name} of {kind} {dims} does not fit its {len(content)} bytes")
    array = np.frombuffer(content, TYPES[kind]).reshape(shape)
    return bfloat16.widen(array) if kind == "BFloat16" else array
