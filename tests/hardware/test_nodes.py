from __future__ import annotations

import subprocess

import pytest

from beit_exp.errors import UserError
from beit_exp.hardware import nodes
from beit_exp.hardware.nodes import (
    UnknownHostError,
    check_place,
    find_place,
    first_host,
    ip_address,
)

SLURM = {  # of the second of two nodes, as srun of Slurm 22.05 sets them
    "SLURM_JOB_ID": "1234",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
    "SLURM_STEP_NODELIST": "node[003-004]",
    "SLURM_NODEID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_PROCID": "1",
}
ONE_A_DEVICE = {
    **SLURM,
    "SLURM_STEP_NUM_TASKS": "16",
    "SLURM_STEP_TASKS_PER_NODE": "8(x2)",
    "SLURM_LOCALID": "1",
    "SLURM_PROCID": "3",  # dealt out node by node: what a node counts is what holds
}
OPEN_MPI = {
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
}
OPEN_MPI_ON_ONE = {
    **OPEN_MPI,
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
    "OMPI_COMM_WORLD_LOCAL_RANK": "3",
}
TORCH = {"WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8", "RANK": "9", "LOCAL_RANK": "1"}
NAMED = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "10.0.0.1"}
VOLCANO = {"VC_WORKER_HOSTS": "a-worker-0.a,a-worker-1.a", "VC_TASK_INDEX": "1"}
MODELARTS = {**VOLCANO, "MA_NUM_HOSTS": "2", "VC_WORKER_NUM": "2"}


@pytest.mark.parametrize(
    ("environment", "number", "count", "address", "port"),
    [
        (SLURM, 1, 2, "node003", 20000 + 17 * 1234 % 10000),
        (ONE_A_DEVICE, 9, 16, "node003", 20000 + 17 * 1234 % 10000),
        ({**SLURM, "MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "9000"}, 1, 2, "10.0.0.7", 9000),
        (NAMED, 1, 2, "10.0.0.1", 8118),
        ({**SLURM, **NAMED, "NNODES": "3", "NODE_RANK": "2"}, 2, 3, "10.0.0.1", 8118),
        ({**TORCH, "MASTER_ADDR": "a"}, 9, 16, "a", 8118),
        ({**OPEN_MPI, "MASTER_ADDR": "a", "MASTER_PORT": "2222"}, 3, 4, "a", 2222),
        (OPEN_MPI_ON_ONE, 3, 4, "127.0.0.1", 8118),
        (VOLCANO, 1, 2, "a-worker-0.a", 8118),
        (MODELARTS, 1, 2, "a-worker-0.a", 8118),
    ],
)
def test_an_environment_names_a_place(
    environment: dict[str, str], number: int, count: int, address: str, port: int
) -> None:
    place = find_place(environment)
    assert place is not None
    found = (place.number, place.count, place.address, place.port)
    assert found == (number, count, address, port)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_JOB_ID": "3", "SLURM_NNODES": "2", "SLURM_NODEID": "0", "SLURM_PROCID": "0"},
        {**SLURM, "SLURM_STEP_ID": str(0xFFFFFFFA)},  # the shell that salloc gives
        {**SLURM, "SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_NUM_TASKS": "1", "SLURM_NODEID": "0"}
        | {"SLURM_STEP_TASKS_PER_NODE": "1"},
        {"NNODES": "1"},
        {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "a"},  # of nodes or of devices: not told
        {"VC_TASK_INDEX": "0"},
        {"VC_WORKER_HOSTS": "a-worker-0.a", "VC_TASK_INDEX": "0"},
    ],
)
def test_what_was_started_once_is_alone(environment: dict[str, str]) -> None:
    assert find_place(environment) is None


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"NNODES": "two"}, "NNODES = 'two': must be a whole number"),
        ({"NNODES": "2", "MASTER_ADDR": "a"}, "NODE_RANK is not set"),
        ({"NNODES": "2", "NODE_RANK": "1"}, "MASTER_ADDR is not set: NNODES tells of several"),
        ({**NAMED, "NODE_RANK": "2"}, "this is node 2, of 2 nodes counted from 0"),
        ({**NAMED, "MASTER_PORT": "80"}, "MASTER_PORT = 80: must be a whole number from 1024"),
        (OPEN_MPI, "MASTER_ADDR is not set: Open MPI"),
        ({**OPEN_MPI, "OMPI_COMM_WORLD_RANK": "2"}, "numbered node by node"),
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "3"}, "must be as many on each node"),
        (
            {**SLURM, "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "3,1"},
            r"started 3,1 tasks on 2 nodes: must be as many on each node \(srun --ntasks-per-node",
        ),
        ({**MODELARTS, "MA_NUM_HOSTS": "3"}, "MA_NUM_HOSTS = 3: VC_WORKER_HOSTS names 2 hosts"),
        (
            {"VC_MASTER_HOSTS": "a", "VC_SLAVE_HOSTS": "b", "VC_TASK_INDEX": "0"},
            "of several tasks, ours must be called worker",
        ),
    ],
)
def test_an_environment_that_cannot_be_is_refused(environment: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        find_place(environment)


def test_settings_that_say_otherwise_are_refused() -> None:
    two, sixteen = find_place(NAMED), find_place({**TORCH, "MASTER_ADDR": "a"})
    check_place(two, node_num=2, device_num=8)
    check_place(sixteen, node_num=2, device_num=8)
    check_place(None, node_num=1, device_num=8)
    with pytest.raises(UserError, match="node_num = 4: must be 2, the nodes that NNODES names"):
        check_place(two, node_num=4, device_num=8)
    with pytest.raises(UserError, match="must be 1, the nodes that the environment names, or null"):
        check_place(None, node_num=2, device_num=8)
    with pytest.raises(UserError, match="device_num = 1: must be 8, the processes that WORLD_SIZE"):
        check_place(sixteen, node_num=2, device_num=1)


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("n1", "n1"),
        ("n[1-2]", "n1"),
        ("node[003-007,9],b1", "node003"),
        ("b1,node[3-4]", "b1"),
        ("rack[2-3]node[07,09]x", "rack2node07x"),
    ],
)
def test_the_first_host_of_a_list_is_that_of_slurm(hosts: str, first: str) -> None:
    assert first_host(hosts) == first


def test_a_host_that_only_slurm_knows_has_the_address_that_it_says(monkeypatch) -> None:
    told = "NodeName=n1 Arch=x86_64 NodeAddr=127.0.0.1 NodeHostName=vm Version=22.05"
    monkeypatch.setattr(nodes.shutil, "which", lambda _: "/usr/bin/scontrol")
    monkeypatch.setattr(
        nodes.subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, 0, stdout=told),
    )
    assert ip_address("n1.invalid") == "127.0.0.1"
    assert ip_address("localhost") == "127.0.0.1"


def test_a_host_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UnknownHostError, match=r"no IPv4 address of 'n1\.invalid' is known here"):
        ip_address("n1.invalid", ask=lambda _: "")
    with pytest.raises(UserError, match="'fd00::1' .MASTER_ADDR.: must be of IPv4"):
        ip_address("fd00::1")


@pytest.mark.parametrize("host", ["a..b", "a" * 70])
def test_what_can_be_no_name_is_not_known(host: str) -> None:
    with pytest.raises(UnknownHostError, match="no IPv4 address of"):
        ip_address(host, ask=lambda _: "")
