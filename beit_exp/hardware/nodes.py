"""Which of the processes that one command started, on several nodes or for several devices, this
one is: what Slurm and its like say in the environment.

Sources: srun(1), OUTPUT ENVIRONMENT VARIABLES; mpirun(1) of Open MPI 4; Volcano's job plugins env
and svc, on which ModelArts stands, too.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from beit_exp.errors import UserError

Environment = Mapping[str, str]


class UnknownHostError(UserError):
    """Nobody knows the address of node 0, at least not yet."""


PORT = 8118  # where nothing names another: that of MindSpore's own msrun
LEAST_PORT, PORTS = 20000, 10000  # of jobs of Slurm, which may share a node
NO_STEP = 0xFFFFFFF0  # from here on a step's number means the shell of sbatch or of salloc
HELP = (
    "Start the same command on every node: under Slurm by srun; elsewhere with NNODES, NODE_RANK "
    "and MASTER_ADDR in its environment (beit_exp/hardware/README.md)"
)


@dataclass(frozen=True)
class Place:
    """The place of a process among those that the same command started."""

    told_by: str
    nodes: int
    node: int  # this one, from 0
    address: str  # of node 0: a name or an IP address
    port: int  # at which the first process can be met
    cards: int | None = None  # processes on each node, one a device; None: one for all its devices
    card: int = 0  # which of them this one is
    job: str | None = None  # what tells this start from others on the same machines

    @property
    def count(self) -> int:
        """Processes that the command was started as."""
        return self.nodes * (self.cards or 1)

    @property
    def number(self) -> int:
        """This process's number among them, from 0, node by node."""
        return self.node * (self.cards or 1) + self.card

    def name_of(self, number: int) -> str:
        """What a message calls one of them."""
        if self.cards is None:
            return f"node {number}"
        return f"process {number % self.cards} of node {number // self.cards}"


def find_place(environment: Environment) -> Place | None:
    """The place that an environment names; None where the command was started once.

    `UserError` where what it says cannot be.
    """
    for read in (_named, _of_torch, _of_open_mpi, _of_slurm, _of_volcano):
        place = read(environment)
        if place is not None:
            if not (place.node < place.nodes and place.card < (place.cards or 1)):
                raise UserError(
                    f"{place.told_by} says that this is {place.name_of(place.number)}, of "
                    f"{place.nodes} nodes counted from 0"
                )
            return place if place.count > 1 else None
    return None


def check_place(place: Place | None, *, node_num: int | None, device_num: int) -> None:
    """Raise `UserError` where the settings say otherwise than the environment."""
    nodes, told_by = (1, "the environment") if place is None else (place.nodes, place.told_by)
    if node_num not in (None, nodes):
        raise UserError(
            f"hardware.node_num = {node_num}: must be {nodes}, the nodes that {told_by} names, or "
            f"null. {HELP}"
        )
    if place is not None and place.cards not in (None, device_num):
        raise UserError(
            f"hardware.device_num = {device_num}: must be {place.cards}, the processes that "
            f"{told_by} started on each node, one a device; or start one process a node"
        )


def _named(environment: Environment) -> Place | None:
    """Of variables that a user sets, by the names that launchers of other frameworks read."""
    if "NNODES" not in environment:
        return None
    nodes = _number(environment, "NNODES")
    return Place(
        "NNODES",
        nodes,
        node=_number(environment, "NODE_RANK") if nodes > 1 else 0,
        address=_master(environment, "NNODES") if nodes > 1 else "127.0.0.1",
        port=_port(environment),
    )


def _of_torch(environment: Environment) -> Place | None:
    """Of one process a device as torchrun starts and numbers them."""
    names = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK")
    if not all(name in environment for name in names):
        return None
    return _one_a_device(environment, *names, told_by="WORLD_SIZE")


def _of_open_mpi(environment: Environment) -> Place | None:
    names = [f"OMPI_COMM_WORLD_{name}" for name in ("SIZE", "LOCAL_SIZE", "RANK", "LOCAL_RANK")]
    if names[0] not in environment:
        return None
    return _one_a_device(environment, *names, told_by="Open MPI")


def _one_a_device(
    environment: Environment, all_: str, local: str, rank: str, local_rank: str, *, told_by: str
) -> Place:
    size, cards = _number(environment, all_), _number(environment, local)
    number, card = _number(environment, rank), _number(environment, local_rank)
    if cards < 1 or size % cards or (number - card) % cards:
        raise UserError(
            f"{told_by} started {size} processes, {cards} of them on this node: must be as many on "
            "each node, and numbered node by node"
        )
    nodes = size // cards
    return Place(
        told_by,
        nodes,
        node=number // cards,
        address=_master(environment, told_by) if nodes > 1 else "127.0.0.1",
        port=_port(environment),
        cards=None if cards == 1 else cards,
        card=card,
    )


def _of_slurm(environment: Environment) -> Place | None:
    """Of a step of srun: the shells of sbatch and salloc have some of the same variables."""
    step = environment.get("SLURM_STEP_ID", "")
    if not step.isdecimal() or int(step) >= NO_STEP or "SLURM_STEP_NUM_TASKS" not in environment:
        return None
    tasks, nodes = (_number(environment, f"SLURM_STEP_NUM_{name}") for name in ("TASKS", "NODES"))
    if tasks % nodes or environment["SLURM_STEP_TASKS_PER_NODE"] not in (
        f"{tasks // nodes}(x{nodes})",
        ",".join([str(tasks // nodes)] * nodes),
    ):
        raise UserError(
            f"Slurm started {environment['SLURM_STEP_TASKS_PER_NODE']} tasks on {nodes} nodes: "
            "must be as many on each node (srun --ntasks-per-node)"
        )
    job, cards = _number(environment, "SLURM_JOB_ID"), tasks // nodes
    return Place(
        "Slurm",
        nodes,
        node=_number(environment, "SLURM_NODEID"),
        address=environment.get("MASTER_ADDR") or first_host(environment["SLURM_STEP_NODELIST"]),
        port=_port(environment, LEAST_PORT + (17 * job + int(step)) % PORTS),
        cards=None if cards == 1 else cards,
        card=_number(environment, "SLURM_LOCALID"),
        job=f"slurm_{job}_{step}",
    )


def _of_volcano(environment: Environment) -> Place | None:
    """Of a pod of a Volcano job with the plugins env and svc, or of a node of ModelArts."""
    lists = sorted(name for name in environment if re.fullmatch(r"VC_\w+_HOSTS", name))
    if not lists or "VC_TASK_INDEX" not in environment:
        return None
    found = "VC_WORKER_HOSTS" if "VC_WORKER_HOSTS" in lists else lists[0]
    if len(lists) > 1 and found != "VC_WORKER_HOSTS":
        raise UserError(f"{', '.join(lists)}: of several tasks, ours must be called worker")
    hosts = environment[found].split(",")
    if "MA_NUM_HOSTS" in environment and _number(environment, "MA_NUM_HOSTS") != len(hosts):
        raise UserError(
            f"MA_NUM_HOSTS = {environment['MA_NUM_HOSTS']}: {found} names {len(hosts)} hosts"
        )
    return Place(
        found,
        len(hosts),
        node=_number(environment, "VC_TASK_INDEX"),
        address=environment.get("MASTER_ADDR") or hosts[0],
        port=_port(environment),
    )


def _number(environment: Environment, name: str) -> int:
    text = environment.get(name, "")
    if not text.isdecimal():
        told = f"{name} = {text!r}" if name in environment else f"{name} is not set"
        raise UserError(f"{told}: must be a whole number, for this is one process of several")
    return int(text)


def _port(environment: Environment, otherwise: int = PORT) -> int:
    port = _number(environment, "MASTER_PORT") if "MASTER_PORT" in environment else otherwise
    if not 1023 < port < 65536:
        raise UserError(f"MASTER_PORT = {port}: must be a whole number from 1024 to 65535")
    return port


def _master(environment: Environment, told_by: str) -> str:
    if not environment.get("MASTER_ADDR"):
        raise UserError(
            f"MASTER_ADDR is not set: {told_by} tells of several nodes, so it must be the name or "
            "the IP address of node 0, as the others reach it"
        )
    return environment["MASTER_ADDR"]


def first_host(hosts: str) -> str:
    """The first of Slurm's list of hosts: `node[003-007,9],b1` -> `node003`."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", hosts)
    return re.sub(r"\[([^\]\-,]+)[^\]]*\]", r"\1", first.group() if first else "")


def ip_address(host: str, *, ask: Callable[[str], str] | None = None) -> str:
    """The IPv4 address of a host; of one that only Slurm knows, as that says (`ask`).

    `UnknownHostError` if nobody knows it, `UserError` for an address of IPv6.
    """
    if ":" in host:
        raise UserError(
            f"the address of node 0, {host!r} (MASTER_ADDR): must be of IPv4, or a name of one"
        )
    try:
        return socket.gethostbyname(host)
    except (OSError, UnicodeError) as error:  # the latter of what can be no name
        address = (ask or _address_by_slurm)(host)
        if address in ("", host):
            raise UnknownHostError(
                f"no IPv4 address of {host!r} is known here ({getattr(error, 'strerror', error)})"
            ) from error
        return ip_address(address, ask=lambda _: "")


def _address_by_slurm(host: str) -> str:
    if shutil.which("scontrol") is None:
        return ""
    command = ["scontrol", "--oneliner", "show", "node", host]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"\bNodeAddr=(\S+)", told)
    return found.group(1) if found else ""
