"""A Slurm of two nodes on this machine, for tests of what a cluster does with a command."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beit_exp.hardware.cluster import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "scancel", "scontrol")
needs_slurm = pytest.mark.skipif(
    os.getuid() != 0 or not all(map(shutil.which, PROGRAMS)),
    reason="needs root and Debian's slurmctld, slurmd, slurm-client and munge",
)
CONF = """\
ClusterName=two
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
KillWait=30
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=8000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=8000
PartitionName=ascend Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def two_nodes() -> Iterator[dict[str, str]]:
    """Start it, and end it with all that it started; yields what its commands read."""
    with tempfile.TemporaryDirectory(prefix="slurm") as name:
        folder = Path(name)
        (folder / "state").mkdir()
        (folder / "key").write_bytes(os.urandom(1024))
        (folder / "key").chmod(0o400)
        ports = [free_port() for _ in range(3)]
        conf = folder / "slurm.conf"
        host = socket.gethostname().partition(".")[0]
        conf.write_text(CONF.format(host=host, folder=folder, ports=ports))
        environment = {**os.environ, "SLURM_CONF": str(conf)}
        daemons = [
            ["munged", "--foreground", "--force", f"--key-file={folder / 'key'}"]
            + [f"--{part}-file={folder / part}" for part in ("pid", "log", "seed")]
            + [f"--socket={folder / 'munge.socket'}"],
            ["slurmctld", "-D"],
            ["slurmd", "-D", "-N", "n1"],
            ["slurmd", "-D", "-N", "n2"],
        ]
        started = []
        try:
            for command in daemons:
                log = (folder / f"{len(started)}.out").open("wb")
                started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
                time.sleep(0.5)
            await_idle(environment, folder)
            yield environment
        finally:
            subprocess.run(["scancel", "--state=RUNNING"], env=environment, check=False)
            for daemon in reversed(started):
                daemon.terminate()
            for daemon in started:
                daemon.wait()


def await_idle(environment: dict[str, str], folder: Path) -> None:
    """Until both nodes take jobs."""
    deadline = time.monotonic() + 60
    command = ["sinfo", "--noheader", "--Node", "--format=%T"]
    while time.monotonic() < deadline:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.stdout.split() == ["idle", "idle"]:
            return
        time.sleep(0.5)
    told = "\n".join(path.read_text() for path in folder.glob("*.out"))
    raise AssertionError(f"no two idle nodes within a minute: {done.stdout} {done.stderr}\n{told}")
