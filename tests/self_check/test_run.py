from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from settings import make_config

from beit_exp.errors import UserError
from beit_exp.self_check import run
from beit_exp.self_check.line import Line, Outcome

GOOD, BAD = Line("norm", "1e-07", True), Line("norm", "0.5", False)


def test_without_a_card_two_processes_of_a_cpu_are_checked() -> None:
    cfg = run.settings([], cards=0)
    assert (cfg.hardware.device_target, cfg.hardware.device_num) == ("cpu", 2)
    assert cfg.model.arch == "beit_micro"


def test_all_cards_are_checked_and_the_published_recipe_is_timed() -> None:
    cfg = run.settings([], cards=8)
    assert (cfg.hardware.device_target, cfg.hardware.device_num) == ("ascend", 8)
    assert (cfg.model.arch, cfg.train.batch_size) == ("beit_base_patch16_224", 64)


def test_overrides_choose_device_and_network() -> None:
    words = ["hardware=ascend", "hardware.half=bfloat16", "model=beit_large_patch16_224"]
    cfg = run.settings(words, cards=8)
    assert (cfg.hardware.device_num, cfg.hardware.half) == (1, "bfloat16")
    assert cfg.model.arch == "beit_large_patch16_224"


@pytest.mark.parametrize(
    ("word", "said"),
    [("hardware.node_num=2", "must be 1"), ("hardware.nodes=2", "no such setting")],
)
def test_what_cannot_be_checked_is_refused(word: str, said: str, capsys, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        run.settings([word], cards=0)
    assert run.main([word, "--file", str(tmp_path / "file.json")], cards=0) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "file.json").exists()


def test_processes_that_leave_nothing_are_a_line_that_failed(monkeypatch, tmp_path: Path) -> None:
    def dies(folder: Path) -> int:
        (folder / run.OUTPUT).write_text("checking\nno card answers\n")
        return 139

    monkeypatch.setattr(run, "run_members", dies)
    (line,) = run.check_device(make_config("hardware=cpu"), tmp_path)
    assert line == Line("the processes", "ended with exit status 139: no card answers", False)


def test_ranks_are_told_apart_by_number(monkeypatch, tmp_path: Path) -> None:
    def members(folder: Path) -> int:
        for rank in range(11):
            lines = [asdict(BAD if rank == 10 else GOOD)]
            (folder / f"rank_{rank}.json").write_text(json.dumps({"lines": lines}))
        return 0

    monkeypatch.setattr(run, "run_members", members)
    (line,) = run.check_device(make_config("hardware=cpu"), tmp_path)
    assert line == Line("norm", "0.5 (on rank 10)", False)


@pytest.mark.parametrize(("line", "status"), [(GOOD, 0), (BAD, 1)])
def test_a_file_says_all_and_the_exit_status_whether_it_is_good(
    line: Line, status: int, monkeypatch, tmp_path: Path, capsys
) -> None:
    monkeypatch.setattr(run, "check_device", lambda *_: [line])
    monkeypatch.setattr(run, "check_resume", lambda *_: Outcome(True, "bit for bit"))
    file = tmp_path / "sent" / "file.json"
    assert run.main(["hardware=cpu", "--file", str(file)], cards=0) == status
    report = json.loads(file.read_text())
    assert report["lines"][0] == asdict(line) and report["lines"][1]["seen"] == "bit for bit"
    assert report["versions"]["mindspore"] and report["config"]["hardware"]["device_num"] == 1
    assert str(file) in capsys.readouterr().out
