"""Several hosts as one run, on networks that break, lose and refuse."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from hosts import Hosts, ended, needs_hosts
from whole_runs import (
    Command,
    children,
    records,
    same_weights,
    small,
    wait_for,
    without_times,
)

from beit_exp.hardware.nodes import PORT

pytestmark = [pytest.mark.slow, needs_hosts]

RUN = "hydra.run.dir=run"
TIMEOUT_S, LATER_S = 8, 12  # hardware.cluster_timeout_s, and until all have ended after it
END_S = 60  # for all to end when one has failed


def start(hosts: Hosts, folder: Path, *settings: str) -> list[subprocess.Popen[str]]:
    return [command.start(*settings, RUN) for command in hosts.commands(folder)]


def train(hosts: Hosts, folder: Path, *settings: str) -> list[tuple[int, str, str]]:
    return ended(start(hosts, folder, *settings), within_s=240)


def assert_trained_alike(one: Path, other: Path) -> None:
    """Equal accuracies, and losses as near as sums in another order allow."""
    for name, within in (("train/loss", 1e-5), ("val/loss", 1e-5), ("val/top1", 0)):
        first, second = (
            [record[name] for record in without_times(run) if name in record]
            for run in (one, other)
        )
        assert len(first) >= 2
        np.testing.assert_allclose(second, first, rtol=0, atol=within, err_msg=name)


def alone(launch: Command, data: Path, *, hosts: int = 2, epochs: int = 2) -> Path:
    """The same training by one process, with the batches of all hosts."""
    batch = f"train.batch_size={8 * hosts}"
    done = launch(*small(data, batch, epochs=epochs), "hydra.run.dir=alone")
    assert done.returncode == 0, done.stdout + done.stderr
    return launch.folder / "alone"


def each(data: Path, *more: str, epochs: int = 2) -> tuple[str, ...]:
    return small(data, "train.batch_size=8", *more, epochs=epochs)


def lines_with(text: str, *words: str) -> list[str]:
    return [line for line in text.splitlines() if all(word in line for word in words)]


def test_two_hosts_with_one_directory_train_as_one_process(
    launch: Command, few_digits: Path
) -> None:
    one = alone(launch, few_digits)
    with Hosts(2) as hosts:
        first, second = train(hosts, launch.folder, *each(few_digits))
        assert hosts.is_quiet()
    assert (first[0], second[0]) == (0, 0), (first, second)
    assert second[1:] == ("", "")
    assert_trained_alike(one, launch.folder / "run")
    assert len(launch.runs()) == 2


@pytest.mark.long
def test_hosts_with_directories_of_their_own_train_and_say_so_once(
    launch: Command, few_digits: Path
) -> None:
    one = alone(launch, few_digits)
    folders = [launch.folder / name for name in ("here", "there")]
    with Hosts(2) as hosts:
        processes = []
        for folder, command in zip(folders, hosts.commands(launch.folder), strict=True):
            folder.mkdir()
            command.folder = folder
            processes.append(command.start(*each(few_digits), RUN))
        first, second = ended(processes, within_s=240)
    assert (first[0], second[0]) == (0, 0), (first, second)
    assert len(lines_with(first[1], "there/run is not the directory of node 0")) == 1
    assert second[1:] == ("", "")
    assert_trained_alike(one, folders[0] / "run")
    assert not (folders[1] / "run" / "metrics.json").exists()


@pytest.mark.long
def test_a_poor_link_changes_no_number(launch: Command, few_digits: Path) -> None:
    one = alone(launch, few_digits)
    with Hosts(2, is_poor=True) as hosts:
        found = train(hosts, launch.folder, *each(few_digits))
    assert [status for status, *_ in found] == [0, 0], found
    assert_trained_alike(one, launch.folder / "run")


@pytest.mark.long
@pytest.mark.parametrize("cut_off", [0, 1])
def test_a_link_that_breaks_ends_all_and_the_next_start_comes_to_the_same_end(
    cut_off: int, launch: Command, few_digits: Path
) -> None:
    settings = each(few_digits, epochs=30)
    with Hosts(2) as hosts:
        assert [status for status, *_ in train(hosts, launch.folder, *settings)] == [0, 0]
        (launch.folder / "run").rename(launch.folder / "whole")
    with Hosts(2) as hosts:
        processes = start(hosts, launch.folder, *settings)
        wait_for(lambda: records(launch.folder / "run") >= 40, processes[0])
        hosts[cut_off].cut()
        found = ended(processes, within_s=END_S)
        assert hosts.is_quiet()
    for number, (status, _, err) in enumerate(found):
        assert status == 1, found
        # MindSpore may say, too, that the network of the host that was cut off is unreachable
        own = [line for line in err.splitlines() if not line.startswith("[ERROR] DISTRIBUTED(")]
        assert len(own) == 1, err
        assert own[0].startswith(f"node {1 - number} (") and "is gone: it was silent for" in own[0]
        assert own[0].endswith("To go on, run the same again")
    with Hosts(2) as hosts:
        assert [status for status, *_ in train(hosts, launch.folder, *settings)] == [0, 0]
    assert same_weights(launch.folder / "whole", launch.folder / "run")
    assert without_times(launch.folder / "whole") == without_times(launch.folder / "run")


NO_MEETING = ("did not reach node 0 at 10.7.0.", "node 1 did not come to node 0", "MASTER_ADDR")
NO_AGREEMENT = "must have the same settings and the same versions"


@pytest.mark.parametrize(
    ("environment", "setting", "said"),
    [
        pytest.param({"MASTER_ADDR": "10.7.0.99"}, "seed=42", NO_MEETING, id="address"),
        pytest.param(
            {"MASTER_PORT": "8119"},
            "seed=42",
            (*NO_MEETING, "Connection refused"),
            id="port",
            marks=pytest.mark.long,
        ),
        pytest.param(
            {"PYTHONPATH": "older"},
            "seed=42",
            (NO_AGREEMENT, "'1.0' on node 1"),
            id="versions",
            marks=pytest.mark.long,
        ),
        pytest.param(
            {},
            "seed=7",
            (NO_AGREEMENT, "seed: 42 on node 0, 7 on node 1"),
            id="settings",
            marks=pytest.mark.long,
        ),
    ],
)
def test_what_keeps_hosts_apart_is_told_in_time(
    environment: dict[str, str],
    setting: str,
    said: tuple[str, ...],
    launch: Command,
    few_digits: Path,
) -> None:
    older = launch.folder / "older" / "numpy-1.0.dist-info"
    older.mkdir(parents=True)
    (older / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.0\n")
    settings = each(few_digits, f"hardware.cluster_timeout_s={TIMEOUT_S}")
    with Hosts(2) as hosts:
        first, second = hosts.commands(launch.folder)
        second.more |= environment
        processes = [first.start(*settings, RUN), second.start(*settings, setting, RUN)]
        found = ended(processes, within_s=TIMEOUT_S + LATER_S)
        assert hosts.is_quiet()
    assert [status for status, *_ in found] == [2, 2], found
    assert all(err and "Traceback" not in err for *_, err in found), found
    told = "".join(err for *_, err in found)
    assert all(words in told for words in said), told
    assert not (launch.folder / "run").exists()


def is_called(process: subprocess.Popen[str]) -> bool:
    """Whether another host has a connection to the port at which hosts meet."""
    lines = Path(f"/proc/{process.pid}/net/tcp").read_text().splitlines()[1:]
    ends = [(line.split()[1].rpartition(":")[2], line.split()[3]) for line in lines]
    return (f"{PORT:X}", "01") in ends  # established: include/net/tcp_states.h


@pytest.mark.long
@pytest.mark.parametrize("stopped", [0, 1])
def test_ctrl_c_while_a_host_is_waited_for_ends_all_at_once(
    stopped: int, launch: Command, few_digits: Path
) -> None:
    with Hosts(3) as hosts:
        commands = hosts.commands(launch.folder)[:2]
        processes = [command.start(*each(few_digits), RUN) for command in commands]
        wait_for(lambda: is_called(processes[0]), processes[0])
        time.sleep(1)  # until it is taken in
        processes[stopped].send_signal(signal.SIGINT)
        found = ended(processes, within_s=5)
    assert found[stopped] == (128 + signal.SIGINT, "", "")
    status, _, err = found[1 - stopped]
    (line,) = err.splitlines()
    assert status == 2 and line.startswith(f"node {stopped} (") and "is gone: " in line


@pytest.mark.parametrize("killed", ["rank", pytest.param("launcher", marks=pytest.mark.long)])
def test_when_one_of_three_hosts_is_killed_the_others_end_and_name_it(
    killed: str, launch: Command, few_digits: Path
) -> None:
    with Hosts(3) as hosts:
        processes = start(hosts, launch.folder, *each(few_digits, epochs=400))
        wait_for(lambda: records(launch.folder / "run") >= 8, processes[0])
        pid = processes[1].pid
        os.kill(pid if killed == "launcher" else children(pid)[-1], signal.SIGKILL)
        began = time.monotonic()
        found = ended(processes, within_s=END_S)
        while not hosts.is_quiet() and time.monotonic() < began + END_S:
            time.sleep(0.2)
        assert hosts.is_quiet()
    for number in (0, 2):
        status, _, err = found[number]
        assert status != 0 and len(lines_with(err, "node 1 (")) == 1, found
        assert len(err.splitlines()) == 1, err
    assert not (launch.folder / "run" / "metrics.json").exists()
