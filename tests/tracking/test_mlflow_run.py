from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_server import Fault, FaultyServer
from settings import make_config

from beit_exp.config.mapping import save_config
from beit_exp.config.schema import Config
from beit_exp.report.__main__ import main
from beit_exp.tracking import mlflow_sink
from beit_exp.tracking.tracker import open_tracker

STEPS = [1, 2, 3]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    # Of handlers that other tests have left, whose streams are closed
    monkeypatch.setattr(logging, "raiseExceptions", False)
    monkeypatch.setattr(mlflow_sink, "RETRY_S", (0.05, 0.05))
    monkeypatch.setattr(mlflow_sink, "SEND_EVERY_S", 0.01)
    with FaultyServer(tmp_path / "artifacts") as server:
        yield server


@pytest.fixture
def cfg(server: FaultyServer, tmp_path: Path) -> Config:
    cfg = make_config().model_copy(
        update={"tracking": make_config().tracking.model_copy(update={"uri": server.uri})}
    )
    save_config(cfg, tmp_path / "run" / "config.yaml")
    return cfg


def train(cfg: Config, run_dir: Path) -> None:
    with open_tracker(cfg, run_dir) as tracker:
        for step in STEPS:
            tracker.log({"train/loss": 1 / step}, step=step, epoch=0)
        (run_dir / "metrics.json").write_text("{}")


def check_whole(server: FaultyServer) -> None:
    """One run, with every record once, the settings, the tags and its end."""
    (run,) = server.store.alive()
    losses = [each for each in run["data"]["metrics"] if each["key"] == "train/loss"]
    assert [int(each.get("step", 0)) for each in losses] == STEPS
    assert run["info"]["status"] == "FINISHED"
    assert {"model.depth", "train.epochs"} <= {each["key"] for each in run["data"]["params"]}
    assert "python" in {each["key"] for each in run["data"]["tags"]}
    assert list((server.store.folder / run["info"]["run_id"]).glob("config.yaml"))


@pytest.mark.parametrize(
    "fault",
    ["500", "401", "403", "later", "html", "empty", "shape", "other", "deaf", "lost", "cut"],
)
def test_a_server_that_answers_wrongly_costs_one_line_and_is_sent_all_later(
    fault: Fault, server: FaultyServer, cfg: Config, tmp_path: Path, caplog, capsys
) -> None:
    server.fault = lambda number, request: fault
    begun = time.monotonic()
    train(cfg, tmp_path / "run")
    assert main(["sync", str(tmp_path / "run")]) == 2
    assert time.monotonic() - begun < 10
    own = [record for record in caplog.records if record.name.startswith("beit_exp")]
    told = [record.getMessage() for record in own]
    assert len(told) <= 2 and not any("\n" in line for line in told)
    assert "to send it later: python -m beit_exp.report sync" in told[-1]
    assert len(capsys.readouterr().err.splitlines()) == 1
    server.fault = lambda number, request: "none"
    assert [main(["sync", str(tmp_path / "run")]) for _ in range(2)] == [0, 0]
    check_whole(server)
    assert capsys.readouterr().out.count(": 0 metrics sent") == 1


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["500", "lost", "cut"])
def test_a_server_that_fails_at_any_of_its_answers_is_sent_all_once(
    fault: Fault, server: FaultyServer, cfg: Config, tmp_path: Path
) -> None:
    """Three answers in a row: as often as the client asks by itself."""
    first_bad, requests = 0, 1
    while first_bad < requests:
        server.requests.clear()
        server.store.runs.clear()
        run_dir = tmp_path / f"{first_bad}"
        save_config(cfg, run_dir / "config.yaml")
        bad = range(first_bad, first_bad + 3)
        server.fault = lambda number, request, bad=bad: fault if number in bad else "none"
        train(cfg, run_dir)
        server.fault = lambda number, request: "none"
        assert main(["sync", str(run_dir)]) == 0
        check_whole(server)
        first_bad, requests = first_bad + 1, len(server.requests)
    assert requests > 8


def fail_once(server: FaultyServer, request: str, fault: Fault) -> None:
    """Let the first answer to one kind of request be wrong."""
    left = [fault]
    server.fault = lambda _, asked: left.pop() if asked == request and left else "none"


@pytest.mark.parametrize(("fault", "made"), [("lost", 2), ("cut", 1)])
def test_a_run_whose_creation_was_done_and_not_answered_is_one_run(
    fault: Fault, made: int, server: FaultyServer, cfg: Config, tmp_path: Path
) -> None:
    fail_once(server, "runs/create", fault)
    train(cfg, tmp_path / "run")
    check_whole(server)
    assert len(server.store.runs) == made


def test_settings_that_a_store_missed_are_sent_when_it_is_back(
    server: FaultyServer, cfg: Config, tmp_path: Path
) -> None:
    fail_once(server, "runs/log-batch", "403")
    train(cfg, tmp_path / "run")
    check_whole(server)


def test_a_run_that_the_store_has_lost_is_made_anew_with_all_its_records(
    server: FaultyServer, cfg: Config, tmp_path: Path
) -> None:
    train(cfg, tmp_path / "run")
    server.store.runs.clear()
    assert main(["sync", str(tmp_path / "run")]) == 0
    check_whole(server)


@pytest.mark.parametrize("name", ["mlflow.json", "facts.json"])
def test_a_damaged_file_of_a_run_is_named(
    name: str, server: FaultyServer, cfg: Config, tmp_path: Path, capsys
) -> None:
    train(cfg, tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(b'{"uri": "htt\xff')
    assert main(["sync", str(tmp_path / "run")]) == 2
    told = f"{tmp_path / 'run' / name} is damaged; the run can do without, so remove it"
    assert capsys.readouterr().err.startswith(told)
