from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from settings import make_config

from beit_exp.errors import UserError
from beit_exp.hardware import cluster
from beit_exp.hardware.cores import own_cores
from beit_exp.hardware.nodes import Place


def hardware_of(*overrides: str):
    return make_config("hardware=ascend", *overrides).hardware


def test_one_server_of_eight_cards_is_a_scheduler_and_eight_workers(monkeypatch) -> None:
    monkeypatch.delenv("RANK_TABLE_FILE", raising=False)
    cfg = hardware_of("hardware=ascend_8p")
    found = cluster.environments(cfg, None, meeting="127.0.0.1:9000")
    assert list(found) == ["scheduler", *map(str, range(8))]
    assert found["scheduler"]["MS_ROLE"] == "MS_SCHED"
    assert {environment["MS_WORKER_NUM"] for environment in found.values()} == {"8"}
    assert [found[str(rank)]["MS_NODE_ID"] for rank in range(8)] == [str(rank) for rank in range(8)]


def test_the_second_of_two_servers_goes_on_counting_and_meets_the_first(monkeypatch) -> None:
    monkeypatch.delenv("RANK_TABLE_FILE", raising=False)
    cfg = hardware_of("hardware=ascend_8p", "hardware.node_num=2", "hardware.cluster_timeout_s=60")
    place = Place("Slurm", 2, 1, address="n1", port=8118)
    found = cluster.environments(cfg, place, meeting="10.0.0.1:4000")
    assert list(found) == [str(rank) for rank in range(8, 16)]
    assert found["8"]["MS_SCHED_HOST"] == "10.0.0.1" and found["8"]["MS_SCHED_PORT"] == "4000"
    assert {environment["MS_WORKER_NUM"] for environment in found.values()} == {"16"}
    assert {environment["MS_TOPO_TIMEOUT"] for environment in found.values()} == {"60"}


@pytest.mark.parametrize(("node", "card"), [(0, 0), (0, 1), (1, 1)])
def test_of_one_process_a_device_each_starts_its_own(node: int, card: int, monkeypatch) -> None:
    monkeypatch.delenv("RANK_TABLE_FILE", raising=False)
    cfg = hardware_of("hardware.device_num=2", "hardware.node_num=2")
    place = Place("Slurm", 2, node, address="n1", port=8118, cards=2, card=card)
    found = cluster.environments(cfg, place, meeting="10.0.0.1:4000")
    rank = str(2 * node + card)
    assert list(found) == (["scheduler", "0"] if rank == "0" else [rank])
    assert (found[rank]["MS_NODE_ID"], found[rank]["DEVICE_ID"]) == (rank, str(card))


def test_a_rank_table_in_the_environment_is_used_on_ascend(monkeypatch) -> None:
    monkeypatch.setenv("RANK_TABLE_FILE", "/etc/hccl.json")
    found = cluster.environments(hardware_of("hardware.device_num=2"), None, meeting="a:9000")
    assert found == {
        "0": {"BEIT_EXP_RANK": "0", "RANK_ID": "0", "RANK_SIZE": "2", "DEVICE_ID": "0"},
        "1": {"BEIT_EXP_RANK": "1", "RANK_ID": "1", "RANK_SIZE": "2", "DEVICE_ID": "1"},
    }


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores cannot be chosen here")
def test_every_worker_has_cores_of_its_own(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("beit_exp.hardware.cores.own_cores", lambda: own_cores()[:2])
    monkeypatch.setattr("beit_exp.hardware.cores.MIN_CORES", 1)
    code = (
        "import os, pathlib, time; time.sleep(0.3); "
        f"pathlib.Path({str(tmp_path)!r}, os.environ['BEIT_EXP_RANK'])"
        ".write_text(str(sorted(os.sched_getaffinity(0))))"
    )
    cfg = make_config("hardware=cpu", "hardware.device_num=2").hardware
    assert cluster.run(cfg, [sys.executable, "-c", code]) == 0
    expected = [[core] for core in own_cores()[:2]] if len(own_cores()) > 1 else [own_cores()] * 2
    assert [(tmp_path / rank).read_text() for rank in "01"] == [str(each) for each in expected]


def test_processes_that_do_not_find_each_other_say_what_a_network_must_do(monkeypatch) -> None:
    def init() -> None:
        raise RuntimeError("Failed to initialize the cluster. You can run command: 'grep'\n\n- C++")

    monkeypatch.setitem(sys.modules, "mindspore.communication", SimpleNamespace(init=init))
    with pytest.raises(UserError, match=r"any port, .* 30 ms: Failed to initialize the cluster\.$"):
        cluster.join()
