from __future__ import annotations

import ctypes
import shutil
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import pytest

from beit_exp.dry_run import stubs
from beit_exp.errors import UserError

NAMES = [
    "aclInit",
    "_ZN2ge5ShapeC1Ev",
    "_ZN2ge8OperatorC1EPKc",
    "_ZN2ge15OperatorFactory14CreateOperatorEPKcS2_",
    stubs.STATUS_FACTORY,
]
needs_tools = pytest.mark.skipif(
    not all(map(shutil.which, stubs.TOOLS)), reason="gcc and nm make the libraries"
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, and a plugin that wants few names."""
    monkeypatch.setenv("BEIT_EXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(stubs, "wanted_names", lambda _: NAMES)
    monkeypatch.setattr(stubs, "check_platform", lambda: "2.10.0")
    return tmp_path / "cache"


@needs_tools
def test_functions_answer_zero_and_constructors_clear_their_object(cache: Path) -> None:
    target = stubs.library_folder(stubs.build_stubs())
    library = ctypes.CDLL(str(target / "libascendcl.so"))
    assert library.aclInit() == 0
    for name, words in zip(NAMES[1:4], (2, 3, 3), strict=True):
        place = (ctypes.c_long * 4)(7, 7, 7, 7)
        construct = library[name]
        construct.restype = ctypes.c_void_p
        assert construct(place) == ctypes.addressof(place)
        assert list(place) == [0] * words + [7] * (4 - words)


@needs_tools
def test_the_map_of_states_is_an_empty_one_of_libstdcpp(cache: Path) -> None:
    library = ctypes.CDLL(str(stubs.library_folder(stubs.build_stubs()) / "libascendcl.so"))
    instance = library[stubs.STATUS_FACTORY]
    instance.restype = ctypes.c_void_p
    first = instance()
    _, color, parent, least, most, size = (ctypes.c_long * 6).from_address(first)
    assert (color, parent, size) == (0, 0, 0)
    assert least == most == first + ctypes.sizeof(ctypes.c_long)  # the tree's own head


@needs_tools
def test_every_library_that_the_plugin_asks_for_holds_the_functions(cache: Path) -> None:
    target = stubs.library_folder(stubs.build_stubs())
    assert {path.stem.removeprefix("lib") for path in target.glob("*.so")} == {
        *stubs.EMPTY,
        stubs.ANSWERS,
    }
    assert ctypes.CDLL(str(target / "driver" / "libascend_hal.so")).aclInit() == 0


@needs_tools
def test_two_at_once_make_one_folder_and_leave_no_litter(cache: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: stubs.build_stubs(), range(2)))
    assert found[0] == found[1] and [found[0]] == list(cache.iterdir())


@needs_tools
def test_what_is_in_the_cache_is_not_made_again(cache: Path, monkeypatch) -> None:
    first = stubs.build_stubs()
    monkeypatch.setattr(stubs, "wanted_names", lambda _: pytest.fail("made again"))
    assert stubs.build_stubs() == first


@needs_tools
def test_a_failure_leaves_nothing_that_looks_whole(cache: Path, monkeypatch) -> None:
    monkeypatch.setattr(stubs, "wanted_names", lambda _: ["no name of C"])
    with pytest.raises(UserError, match=r"gcc cannot make libascendcl.so"):
        stubs.build_stubs()
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("system", "processor"), [("Darwin", "arm64"), ("Linux", "aarch64"), ("Windows", "AMD64")]
)
def test_other_machines_are_refused(system: str, processor: str, monkeypatch) -> None:
    monkeypatch.setattr(stubs.platform, "system", lambda: system)
    monkeypatch.setattr(stubs.platform, "machine", lambda: processor)
    with pytest.raises(UserError, match=f"here are {system} and {processor}"):
        stubs.check_platform()


@pytest.mark.parametrize("missing", stubs.TOOLS)
def test_a_missing_tool_is_named_with_its_package(missing: str, monkeypatch) -> None:
    monkeypatch.setattr(stubs.platform, "system", lambda: "Linux")
    monkeypatch.setattr(stubs.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(stubs.shutil, "which", lambda tool: None if tool == missing else tool)
    with pytest.raises(UserError, match=f"there is no {missing} here: install gcc and binutils"):
        stubs.check_platform()


def test_another_mindspore_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(stubs.metadata, "version", lambda _: "2.11.0")
    with pytest.raises(UserError, match=r"knows MindSpore 2.10.x alone; here is 2.11.0"):
        stubs.mindspore_version()

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(stubs.metadata, "version", missing)
    with pytest.raises(UserError, match="there is none here"):
        stubs.mindspore_version()


def test_names_of_cann_are_looked_for_in_a_library_s_data() -> None:
    data = b"\0aclnnAdd\0text aclnnMul\0rtMalloc\0HcomSend\0start\0rtx\0"
    assert list(stubs.looked_up_names(data)) == [
        *("aclnnAdd", "aclnnAddGetWorkspaceSize", "rtMalloc", "HcomSend")
    ]


def test_the_stubs_come_before_what_the_environment_has() -> None:
    found = stubs.stub_environment(Path("/stubs"), {"PYTHONPATH": "/mine"})
    assert found["PYTHONPATH"] == "/stubs/python:/mine"
    assert found["LD_LIBRARY_PATH"].split(":")[0] == "/stubs/cann/lib64"
    assert found["LD_PRELOAD"].split(":")[0] == "/stubs/cann/lib64/libascendcl.so"
