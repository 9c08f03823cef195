from __future__ import annotations

from pathlib import Path

import pytest

from beit_exp.config.mapping import build_config
from beit_exp.dry_run import simulation
from beit_exp.dry_run.compile_log import CompileLog
from beit_exp.dry_run.simulation import find_cann, rank_environment, simulation_environment
from beit_exp.dry_run.stubs import SOC
from beit_exp.errors import UserError
from beit_exp.launch.overrides import typed_values


@pytest.fixture
def no_cann(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(simulation, "CANN", tmp_path / "Ascend")
    return tmp_path


def test_without_cann_there_is_none(no_cann: Path) -> None:
    assert find_cann() is None


def test_cann_is_taken_where_the_environment_knows_it(no_cann: Path, monkeypatch) -> None:
    folder = no_cann / "lib64"
    folder.mkdir()
    (folder / "libascendcl.so").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/elsewhere::{folder}")
    assert find_cann() == folder
    environment = simulation_environment(folder, card="910B")
    assert environment["MS_SIMULATION_LEVEL"] == "1"
    assert "LD_PRELOAD" not in environment
    assert environment["LD_LIBRARY_PATH"] == f"/elsewhere::{folder}"


def test_cann_that_the_environment_does_not_know_is_named(no_cann: Path) -> None:
    (no_cann / "Ascend").mkdir()
    with pytest.raises(UserError, match=r"source its set_env.sh"):
        find_cann()


def test_without_cann_the_stubs_are_in_the_environment(no_cann: Path, monkeypatch) -> None:
    monkeypatch.setattr(simulation, "build_stubs", lambda: no_cann)
    environment = simulation_environment(None, card="910A")
    assert environment["LD_PRELOAD"].startswith(str(no_cann))
    assert "MS_SUBMODULE_LOG_v" in environment
    assert (environment[SOC], environment[simulation.CARD_KIND]) == ("Ascend910A", "ascend910")


def test_a_run_of_several_devices_is_rank_0_of_so_many() -> None:
    alone, eight, sixteen = (
        build_config(typed_values(["hardware=ascend_8p", *more]))
        for more in (
            ["hardware.device_num=1"],
            [],
            ["hardware.node_num=2"],
        )
    )
    assert rank_environment(alone.hardware) == {}
    assert rank_environment(eight.hardware)["RANK_SIZE"] == "8"
    assert rank_environment(sixteen.hardware) == {
        "BEIT_EXP_RANK": "0",
        "RANK_ID": "0",
        "RANK_SIZE": "16",
        "DEVICE_ID": "0",
    }


def test_a_failure_is_told_by_what_was_raised_and_by_mindspore_s_first_error(
    tmp_path: Path,
) -> None:
    (tmp_path / "output.log").write_text(
        "the run in x failed\nTraceback (most recent call last):\n"
        "RuntimeError: no kernel for Sin\n\n- C++ Call Stack\n"
    )
    told = simulation._reason(tmp_path, CompileLog(error="Select failed"), 1)
    assert told.splitlines() == [
        f"the worker in {tmp_path} ended with exit status 1",
        "  RuntimeError: no kernel for Sin",
        "  Select failed",
    ]
    (tmp_path / "output.log").write_text("")
    (tmp_path / "launch.log").write_text("now ERROR beit_exp.worker: the disk is full\n")
    assert simulation._reason(tmp_path, CompileLog(), 2).endswith("\n  the disk is full")
    assert "was killed by signal 9" in simulation._reason(tmp_path, CompileLog(), -9)
