"""Pickles that would crash, fill the memory or run something, were they unpickled."""

from __future__ import annotations

import collections
import pickle
import struct

import pytest

from beit_exp.weights.description import MAX_BYTES, StridedTensor, read_description

STORAGE = (
    b"(X\x07\x00\x00\x00storagectorch\nLongStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x02tQ"
)
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def tensor(size: bytes, stride: bytes) -> bytes:
    return b"\x80\x02" + REBUILD + b"(" + STORAGE + b"K\x00" + size + stride + b"\x89}tR."


def test_plain_containers_are_read_as_python_reads_them() -> None:
    content = {"epoch": 3, "names": ["a", "b"], "lr": (1e-3, None, True), 7: {"x": -1}}
    for protocol in range(2, 6):
        assert read_description(pickle.dumps(content, protocol)) == content
    ordered = collections.OrderedDict([("b", 1), ("a", 2)])
    assert list(read_description(pickle.dumps(ordered, 2)).items()) == [("b", 1), ("a", 2)]


def test_a_tensor_is_its_storage_and_its_strides() -> None:
    found = read_description(tensor(b"K\x02\x85", b"K\x01\x85"))
    assert isinstance(found, StridedTensor)
    assert found.storage.kind == "LongStorage" and found.storage.length == 2
    assert (found.offset, found.size, found.stride) == (0, (2,), (1,))


def test_the_number_of_a_memo_costs_nothing() -> None:
    """Python's unpickler makes room for as many."""
    assert read_description(b"\x80\x02Nr\xff\xff\xff\xff.") is None


@pytest.mark.parametrize(
    ("pickled", "said"),
    [
        # Sizes that are tensors themselves compare as numbers do, and overflow
        (tensor(STORAGE + b"\x85", b"K\x01\x85"), "must be counts"),
        (tensor(b"\x88\x85", b"K\x01\x85"), "must be counts"),  # True
        (tensor(b"J\xff\xff\xff\xff\x85", b"K\x01\x85"), "must be counts"),
        (tensor(b"K\x02\x85", b")"), "must be counts"),
        (tensor(b"]", b"K\x01\x85"), "has list where tuple belongs"),
        (b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.", "it asks to run os.system"),
        (b"\x80\x02ctorch\nload\n.", "it asks to run torch.load"),
        (b"\x80\x02c_codecs\nencode\n.", "it asks to run _codecs.encode"),
        # A key of tuples in tuples: to hash it ends a process for want of stack
        (b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"Ns.", "a key that is neither text nor"),
        (b"\x80\x02\x8f.", "its pickle uses EMPTY_SET"),
        (b"\x80\x02" + b"N" * MAX_BYTES, "its description takes"),
        (b"\x80\x02K\x01\x86.", "more from the stack"),
        (b"\x80\x02.", ""),
        (b"", ""),
        (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"a.", ""),
    ],
)
def test_what_is_no_state_dict_is_refused(pickled: bytes, said: str) -> None:
    with pytest.raises((ValueError, IndexError, KeyError), match=said or None):
        read_description(pickled)
