from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bare_kernels import COMPILED
from settings import make_config

from beit_exp.config.mapping import load_config
from beit_exp.errors import UserError
from beit_exp.hardware.cluster import MEETING, free_port
from beit_exp.hardware.meeting import Alone, Member, meet
from beit_exp.hardware.nodes import Place
from beit_exp.launch import together
from beit_exp.launch.together import (
    check_agreement,
    meeting_others,
    own_settings,
    share_directory,
    versions,
)


@pytest.fixture
def two_members() -> tuple[Member, Member]:
    port = free_port()
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(
            lambda node: meet(Place("NNODES", 2, node, "127.0.0.1", port), timeout_s=20), (0, 1)
        )
    yield first, second
    first.close()
    second.close()


def both(members: tuple[Member, Member], act) -> list[object]:
    def one(member: Member) -> object:
        try:
            return act(member)
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, members))


def share(members: tuple[Member, Member], *folders: Path) -> list[object]:
    cfg = make_config()
    return both(members, lambda member: share_directory(member, cfg, folders[member.place.node]))


@pytest.fixture(autouse=True)
def environment_of_ones_own(monkeypatch) -> None:
    monkeypatch.setenv(MEETING, "")
    monkeypatch.setenv("MS_WORKER_IP", "")
    monkeypatch.delenv("MS_WORKER_IP")


def test_one_that_was_started_once_is_alone(monkeypatch) -> None:
    for name in ("NNODES", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    with meeting_others(make_config()) as meeting:
        assert isinstance(meeting, Alone)
    cfg = make_config("hardware.node_num=2")
    with pytest.raises(UserError, match="node_num = 2: must be 1"), meeting_others(cfg):
        pass


def test_several_processes_train_no_tokenizer_first(monkeypatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    cfg = make_config("experiment=pretrain_digits", "hardware.device_num=2")
    with pytest.raises(UserError, match="tokenizer.weights = null: must be given where several"):
        meeting_others(cfg).__enter__()


def test_settings_and_versions_that_differ_are_named(two_members) -> None:
    mine = {**own_settings(make_config()), **versions()}
    other = {**mine, "optimizer.base_lr": 0.5, "numpy": "2.0", "the code of beit_exp": "abc"}
    assert mine["compiled kernels"] == ("there" if COMPILED.exists() else "missing")
    check_agreement(two_members[0], {0: mine, 1: dict(mine)})
    with pytest.raises(UserError) as raised:
        check_agreement(two_members[0], {0: mine, 1: other})
    head, *lines = str(raised.value).splitlines()
    assert head.startswith("the nodes of one run must have the same settings")
    assert lines[0].startswith("  numpy: '1.") and lines[0].endswith("'2.0' on node 1")
    assert lines[1].startswith("  optimizer.base_lr: ") and "0.5 on node 1" in lines[1]
    assert "the code of beit_exp" in lines[2]


def test_what_a_node_may_have_of_its_own_is_not_compared() -> None:
    other = make_config("hardware.num_parallel_workers=7", "tracking.uri=sqlite:///there.db")
    one = make_config()
    assert own_settings(one) == own_settings(other)
    assert own_settings(one) != own_settings(make_config("seed=7"))


def test_a_directory_that_all_see_is_the_first_one_s(two_members, tmp_path: Path, capsys) -> None:
    assert share(two_members, tmp_path, tmp_path) == [None, None]
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""
    host, _, port = os.environ[MEETING].rpartition(":")
    assert host == "127.0.0.1" and int(port) > 1023
    assert os.environ["MS_WORKER_IP"] == "127.0.0.1"


def test_a_node_with_a_directory_of_its_own_keeps_the_settings_and_says_so(
    two_members, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(together, "SEEN_S", 0.2)
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    assert share(two_members, here, there) == [None, None]
    assert list(here.iterdir()) == []
    assert load_config(there / "config.yaml") == make_config()
    told = capsys.readouterr().out
    assert f"{there} is not the directory of node 0" in told and "cannot be resumed" in told


@pytest.mark.parametrize("begun", ["here", "there"])
def test_a_run_that_only_some_would_see_is_not_resumed(
    begun: str, two_members, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(together, "SEEN_S", 0.2)
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    (tmp_path / begun / "checkpoints").mkdir()
    (tmp_path / begun / "checkpoints" / "step_00000010.safetensors").touch()
    for told in share(two_members, tmp_path / "here", tmp_path / "there"):
        assert "must see hydra.run.dir on one file system" in str(told)
