"""Images with several labels each, from a table to predictions."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from once import made_once
from PIL import Image
from settings import TINY
from whole_runs import Command, metrics_of

from beit_exp.report.multi_label import MultiLabelOutcomes, load_outcomes
from beit_exp.tracking.records import SPLIT_FILE, read_split

IMAGES, CLASSES = 120, 5
MEASURED = {"loss", "map", "macro_f1", "micro_f1"}


@pytest.fixture(scope="module")
def pairs(digits: Path, shared: Path) -> Path:
    """Images of none, one or two digits beside each other, and `labels.csv`."""

    def make(folder: Path) -> None:
        rng, rows = np.random.default_rng(0), [("path", "label")]
        for number in range(IMAGES):
            drawn = rng.permutation(CLASSES)[: (0, 1, 2, 2)[number % 4]].tolist()
            picture = Image.new("L", (32, 32))
            for place, digit in enumerate(drawn):
                found = sorted((digits / "train" / str(digit)).iterdir())
                with Image.open(found[number]) as image:
                    picture.paste(image.convert("L").resize((16, 32)), (16 * place, 0))
            picture.save(folder / f"{number:03d}.png")
            rows.append((f"{number:03d}.png", "|".join(f"digit {digit}" for digit in drawn)))
        with (folder / "labels.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)

    return made_once(shared / "pairs", make)


@pytest.mark.slow
def test_several_labels_an_image_go_from_a_table_to_predictions(
    launch: Command, pairs: Path
) -> None:
    words = (
        "experiment=own_images",
        f"dataset.data_url={pairs}",
        f"dataset.labels={pairs / 'labels.csv'}",
        "dataset.multi_label=true",
        "train.class_weights=balanced",
        "train.focal_gamma=1.0",
        "augment.mix_up=0.2",
        "augment.label_smoothing=0.1",
        *TINY[:-1],
        "model.image_size=32",
        "model.arch=small",
        "train.epochs=3",
        "train.eval_every_epochs=1",
        "train.patience=null",
    )
    done = launch(*words, "hydra.run.dir=run")
    assert done.returncode == 0, done.stdout + done.stderr
    run_dir = launch.folder / "run"
    metrics = metrics_of(run_dir)
    for name in MEASURED:
        assert {f"val/{name}", f"best/val/{name}", f"test/{name}"} <= metrics.keys()
    assert "lowest F1 at the last evaluation: digit" in done.stdout
    assert "val mAP" in done.stdout
    page = (run_dir / "report" / "report.html").read_text()
    assert "F1 per class" in page and "average precision" in page
    split = read_split(run_dir / SPLIT_FILE)
    labels = {label for label, _, _ in split.values()}
    assert len(split) == IMAGES and "" in labels and any("|" in label for label in labels)

    done = launch("task=evaluate", "checkpoint=run", "hydra.run.dir=evaluated")
    assert done.returncode == 0, done.stdout + done.stderr
    evaluated = launch.folder / "evaluated"
    found = {name.removeprefix("val/"): value for name, value in metrics_of(evaluated).items()}
    assert found == {name: metrics[f"best/val/{name}"] for name in MEASURED}
    outcomes = load_outcomes(evaluated / "val_outcomes.npz")
    assert isinstance(outcomes, MultiLabelOutcomes) and not (evaluated / "confusion.csv").exists()

    done = launch("task=predict", "checkpoint=run", f"images={pairs}", "hydra.run.dir=predicted")
    assert done.returncode == 0, done.stdout + done.stderr
    with (launch.folder / "predicted" / "predictions.csv").open() as file:
        rows = {row["path"].rpartition("/")[2]: row for row in csv.DictReader(file)}
    held_out = [name for name, (_, side, _) in split.items() if side == "val"]
    told = [rows[name]["labels"] for name in held_out]
    assert told == [row[1] for row in outcomes.rows([f"digit {n}" for n in range(CLASSES)])]

    done = launch(
        "task=export", "checkpoint=run", "export.formats=[huggingface]", "hydra.run.dir=e"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    refused = launch("task=predict", "checkpoint=run", "dataset.multi_label=false")
    assert "dataset.multi_label = false: must be true, as run was trained" in refused.stderr
    best = f"checkpoint={run_dir / 'checkpoints' / 'best.safetensors'}"
    refused = launch("task=export", best, "model=auto", "dataset.multi_label=false")
    assert "must be true, as" in refused.stderr and refused.returncode == 2
    described = json.loads((launch.folder / "e" / "huggingface" / "config.json").read_text())
    assert described["problem_type"] == "multi_label_classification"


@pytest.mark.slow
@pytest.mark.long
def test_folds_of_images_with_several_labels_are_pooled(launch: Command, pairs: Path) -> None:
    done = launch(
        "experiment=own_images",
        f"dataset.data_url={pairs}",
        f"dataset.labels={pairs / 'labels.csv'}",
        "dataset.multi_label=true",
        *TINY[:-1],
        "model.image_size=32",
        "train.epochs=1",
        "train.patience=null",
        "sweep=folds",
        "dataset.folds=2",
        "hydra.sweep.dir=sweep",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pooled = next(line for line in done.stdout.splitlines() if "pooled" in line)
    assert "map" in pooled and f"({IMAGES} images" in pooled
    with next((launch.folder / "sweep").rglob("out_of_fold.csv")).open() as file:
        assert sum(1 for _ in csv.DictReader(file)) == IMAGES
