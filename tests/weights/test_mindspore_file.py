from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from mindspore.train.checkpoint_pb2 import Checkpoint

from beit_exp.errors import UserError
from beit_exp.weights.mindspore_file import read_mindspore_file


def message(*slices: tuple[str, str, list[int], bytes]) -> bytes:
    found = Checkpoint()
    for name, kind, dims, content in slices:
        value = found.value.add()
        value.tag, value.tensor.tensor_type, value.tensor.tensor_content = name, kind, content
        value.tensor.dims.extend(dims)
    return found.SerializeToString()


@pytest.mark.parametrize("with_checksum", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.bool_])
def test_what_mindspore_writes_is_read(dtype: type, with_checksum: bool, tmp_path: Path) -> None:
    arrays = {"a": np.arange(6).reshape(2, 3).astype(dtype), "b": np.ones((4,), dtype)}
    path = tmp_path / "w.ckpt"
    found = [{"name": name, "data": Tensor(array)} for name, array in arrays.items()]
    ms.save_checkpoint(found, str(path), crc_check=with_checksum, append_dict={"epoch": 3})
    read = read_mindspore_file(path)
    assert read.pop("epoch").item() == 3
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype and np.array_equal(read[name], array)


def test_slices_are_put_together_and_bfloat16_widened(tmp_path: Path) -> None:
    path = tmp_path / "w.ckpt"
    halves = np.array([1.0, -2.0, 0.5], np.float32).view(np.uint32) >> 16
    content = halves.astype("<u2").tobytes()
    path.write_bytes(
        message(("a", "BFloat16", [3], content[:2]), ("a", "BFloat16", [3], content[2:]))
    )
    assert read_mindspore_file(path)["a"].tolist() == [1.0, -2.0, 0.5]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (message(("a", "Float32", [1, 1], bytes(4000))), "does not fit its 4000 bytes"),
        (message(("a", "Float32", [1000, 1000], bytes(8))), "does not fit its 8 bytes"),
        (message(("a", "Float32", [-1, -1], bytes(4))), "does not fit"),
        (message(("a", "Float32", [1 << 62, 1 << 62], b"")), "does not fit"),
        (message(("a", "Float99", [1], bytes(4))), "a is of Float99"),
        (message(("a", "Float32", [1], bytes(4)), ("a", "Float32", [2], bytes(4))), "there twice"),
        (message(("a", "Float32", [1], bytes(4))) + b"crc_num" + bytes(10), "its checksum"),
        (message(("aaa", "Float32", [1], bytes(4))).replace(b"aaa", b"a\xff\xfe"), "(?i)utf-8"),
        (b"\\xff" * 100, "cannot be read as a MindSpore checkpoint"),
    ],
)
def test_shapes_are_compared_with_the_bytes_that_are_there(
    content: bytes, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "w.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        read_mindspore_file(path)
