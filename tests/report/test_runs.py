from __future__ import annotations

from pathlib import Path

import pytest
from settings import make_config
from whole_runs import write_run

from beit_exp.config.mapping import load_config, save_config
from beit_exp.errors import UserError
from beit_exp.report.__main__ import main
from beit_exp.report.page import table
from beit_exp.report.runs import (
    Run,
    differing_keys,
    essence,
    judged_alike,
    ranked,
    read_directory,
    read_place,
    read_value,
    training_s,
)
from beit_exp.tracking.mlflow_sink import sync


def test_a_loss_ranks_downwards(tmp_path: Path) -> None:
    for seed, top1 in ((1, (50.0, 70.0)), (2, (60.0, 80.0))):
        (tmp_path / str(seed) / "plots").mkdir(parents=True)
        write_run(tmp_path / str(seed), f"seed={seed}", "objective=val/loss", top1=top1)
    first, second = ranked(read_place(tmp_path))
    assert (first.settings["seed"], first.best, second.best) == (2, (1.2, 2.0), (1.3, 2.0))


def test_settings_that_change_no_result_are_not_compared() -> None:
    silent = ("tracking.run_name", "hardware.num_parallel_workers", "optimizer.lr_base_size")
    runs = [
        Run(str(n), "finished", {"seed": n, **dict.fromkeys(silent, n)}, [], {}, None)
        for n in (1, 2)
    ]
    assert differing_keys(runs) == ["seed"]


def test_runs_do_not_differ_in_settings_that_one_task_alone_reads() -> None:
    read = ({"task": "finetune", "seed": 1, "train.epochs": 5}, {"task": "soup", "seed": 1})
    runs = [Run("a", "finished", settings, [], {}, None) for settings in read]
    assert differing_keys(runs) == ["task"]


def test_a_run_tells_of_its_validation_images_among_others() -> None:
    sets = [{"context": use, "images": n} for use, n in (("training", 80), ("validation", 50))]
    run = Run("a", "finished", {}, [], {}, None, facts={"datasets": sets})
    assert run.validation_set == {"context": "validation", "images": 50}
    other = Run("b", "finished", {}, [], {}, None, facts={"datasets": sets[:1]})
    assert other.validation_set is None


def test_runs_of_several_objectives_are_judged_by_one_that_all_have() -> None:
    found = {"step": 1, "epoch": 1.0, "val/loss": 0.5, "val/top1": 80.0}
    better = {**found, "val/loss": 0.7, "val/top1": 90.0, "val/macro_f1": 10.0}
    runs = [
        Run(objective, "finished", {"objective": objective}, [record], {}, None)
        for objective, record in (("val/macro_f1", better), ("val/loss", found))
    ]
    alike = judged_alike(runs)
    assert [run.best for run in alike] == [(0.7, 1.0), (0.5, 1.0)]
    assert [run.name for run in ranked(alike)] == ["val/loss", "val/macro_f1"]
    failed = Run("failed", "failed (x)", {}, [], {}, None)
    (_, only) = judged_alike([failed, runs[0]])
    assert only.best == (10.0, 1.0)
    assert judged_alike([failed]) == [failed]


def test_runs_on_other_data_are_no_repetitions() -> None:
    found = {"step": 1, "epoch": 1.0, "time": 0.0, "val/top1": 80.0}
    runs = [
        Run(url, "finished", {"dataset.data_url": url}, [found], {}, None) for url in ("a", "b")
    ]
    assert "mean" not in " ".join(table(runs)[0])


def test_the_table_shows_what_was_measured_on_a_test_set() -> None:
    found = {"step": 1, "epoch": 1.0, "time": 0.0, "val/top1": 80.0}
    tested = [found, {"step": 1, "epoch": 1.0, "time": 1.0, "test/top1": 75.0}]
    runs = [
        Run(str(n), "finished", {"optimizer.base_lr": n}, records, {}, None)
        for n, records in enumerate([tested, [found]])
    ]
    header, rows = table(runs)
    assert header[1:5] == ["optimizer.base_lr", "best val/top1", "epoch", "test/top1"]
    assert [row[4] for row in rows] == [75.0, None]


@pytest.mark.slow
def test_report_from_a_store_equals_that_from_directories(
    swept: Path, tmp_path: Path, capsys
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for folder in sorted(swept.glob("*0.[67]5")):
        cfg = load_config(folder / "config.yaml")
        here = cfg.model_copy(
            update={
                "tracking": cfg.tracking.model_copy(update={"uri": uri, "run_name": folder.name})
            }
        )
        save_config(here, folder / "config.yaml")
        sync(here, folder)
    (from_disk, *_), (from_store, *_) = ranked(read_place(swept)), ranked(read_stored(uri, "beit"))
    assert (
        from_store.settings["optimizer.layer_decay"] == 0.75 and from_store.best == from_disk.best
    )
    assert (from_store.name, from_store.status) == (from_disk.name, "finished")
    assert from_store.pictures == from_disk.pictures and from_store.pictures.keys() == {"schedule"}
    assert [record.get("train/loss") for record in from_store.records] == [1.0, 1 / 2, 1 / 3]
    assert main(["--store", uri, str(from_store.run_id), "--output", str(tmp_path / "out")]) == 0
    assert "80" in capsys.readouterr().out
    assert main(["--store", uri, "nothing"]) == 2
    assert "has no run and no experiment 'nothing'" in capsys.readouterr().err


def read_stored(uri: str, name: str) -> list[Run]:
    from beit_exp.report.runs import read_store

    return read_store(uri, name)


@pytest.mark.parametrize(
    "value", [3e-05, None, True, [0.9, 0.999], "adamw", "rand-m9", 1.0, {"a": "b"}, ""]
)
def test_a_parameter_is_read_back_from_its_text(value: object) -> None:
    assert read_value(str(value)) == value


def test_a_place_without_a_run_is_named(tmp_path: Path, capsys) -> None:
    assert main([str(tmp_path)]) == 2
    assert (
        f"{tmp_path} is neither a run directory (config.yaml is missing) nor"
        in capsys.readouterr().err
    )
    with pytest.raises(UserError):
        read_place(tmp_path / "nowhere")


def test_a_run_that_has_just_begun_is_a_row(tmp_path: Path) -> None:
    save_config(make_config(), tmp_path / "config.yaml")
    run = read_directory(tmp_path)
    assert (run.status, run.best, run.images_per_s, run.elapsed_s) == (
        "unfinished",
        None,
        None,
        None,
    )
    assert table([run])[1][0][-1] == "unfinished"


def test_the_time_between_a_kill_and_the_next_start_is_no_training() -> None:
    records = [{"time": 100.0}, {"time": 160.0}, {"time": 7500.0, "time/pause_s": 7300.0}]
    assert training_s(records) == 100.0
    assert training_s(records[:2]) == 60.0


def test_of_runs_with_the_same_accuracy_the_one_with_the_lower_loss_is_the_better() -> None:
    def run(name: str, loss: float) -> Run:
        record = {"step": 1, "epoch": 1.0, "time": 0.0, "val/top1": 50.0, "val/loss": loss}
        return Run(name, "finished", {"objective": "val/top1"}, [record], {}, None)

    assert [found.name for found in ranked([run("a", 2.0), run("b", 1.0)])] == ["b", "a"]


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("exit status 9", "exit status 9"),
        ("1 setting is wrong:\n  train.epochs = 0: must be > 0", "train.epochs = 0: must be > 0"),
        ("2 settings are wrong:\n  a = 1: must be 2\n  b: unknown", "a = 1: must be 2, and 1 more"),
        ("the disk is full\nfree some", "the disk is full"),
        ("nothing follows:", "nothing follows:"),
    ],
)
def test_a_failed_row_says_why_in_one_line(message: str, line: str) -> None:
    assert essence(message) == line
