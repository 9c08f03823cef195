"""Hosts of a network of their own, each with its address: network namespaces of Linux.

What connects them lies in namespaces, too, so networks of several tests do not see each other.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

import pytest
from whole_runs import Command

POOR_LINK = Path(__file__).with_name("poor_link.py")


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


class Host:
    """A machine of the network: what is started there sees its own interfaces alone."""

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")

    def connect(self) -> None:
        """Take the interface eth0, once it is there, into use."""
        ip("-n", self.name, "address", "add", f"{self.address}/24", "dev", "eth0")
        ip("-n", self.name, "link", "set", "eth0", "up")

    def cut(self) -> None:
        """Break the link: what is sent is lost without an answer."""
        ip("-n", self.name, "link", "set", "eth0", "down")

    def command(self, folder: Path, **environment: str) -> Command:
        return Command(folder, environment, within=("ip", "netns", "exec", self.name))

    def processes(self) -> list[int]:
        return [int(word) for word in ip("netns", "pids", self.name).split()]

    def remove(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        ip("netns", "delete", self.name)


class Hosts:
    """So many hosts on one switch or, of two, at the ends of a poor link."""

    def __init__(self, count: int, *, is_poor: bool = False) -> None:
        self.count, self.is_poor = count, is_poor
        self.hosts: list[Host] = []
        self.link: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Hosts:
        network = f"beit-exp-{secrets.token_hex(4)}"
        try:
            for number in range(self.count):
                self.hosts.append(Host(f"{network}-{number}", f"10.7.0.{number + 1}"))
            (self._stretch if self.is_poor else self._switch)(network)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self.link is not None:
            self.link.kill()
            self.link.wait()
        for host in self.hosts:
            host.remove()

    def __getitem__(self, number: int) -> Host:
        return self.hosts[number]

    def commands(self, folder: Path, **environment: str) -> list[Command]:
        """The command on each, told where node 0 is."""
        shared = {"NNODES": str(self.count), "MASTER_ADDR": self[0].address, **environment}
        return [
            host.command(folder, NODE_RANK=str(number), **shared)
            for number, host in enumerate(self.hosts[: self.count])
        ]

    def is_quiet(self) -> bool:
        """Whether every process that was started on a host has ended."""
        return not any(host.processes() for host in self.hosts)

    def _switch(self, network: str) -> None:
        switch = f"{network}-switch"
        self.hosts.append(Host(switch, ""))
        ip("-n", switch, "link", "add", "switch", "type", "bridge")
        ip("-n", switch, "link", "set", "switch", "up")
        for number, host in enumerate(self.hosts[: self.count]):
            port = f"port{number}"
            far_end = ("type", "veth", "peer", "name", port, "netns", switch)
            ip("link", "add", "eth0", "netns", host.name, *far_end)
            ip("-n", switch, "link", "set", port, "master", "switch", "up")
            host.connect()

    def _stretch(self, network: str) -> None:
        command = [sys.executable, str(POOR_LINK), *(host.name for host in self.hosts)]
        self.link = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.link.stdout is not None and self.link.stdout.readline() == b"ready\n"
        for host in self.hosts:
            host.connect()


def can_make_hosts() -> bool:
    """Whether this user may make namespaces and links."""
    try:
        with Hosts(1) as hosts:
            subprocess.run(["ip", "netns", "exec", hosts[0].name, "true"], check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def ended(processes: list[subprocess.Popen[str]], *, within_s: float) -> list[tuple[int, str, str]]:
    """Exit status, output and errors of each, as soon as all have ended."""
    deadline = time.monotonic() + within_s
    found = []
    for process in processes:
        out, err = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
        found.append((process.returncode, out, err))
    return found


needs_hosts = pytest.mark.skipif(
    not can_make_hosts(), reason="network namespaces need Linux, iproute2 and the rights of root"
)
