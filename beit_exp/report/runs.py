"""Runs as values, read from run directories or from an MLflow store."""

from __future__ import annotations

import ast
import json
import math
import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from beit_exp.config.mapping import flatten, load_config
from beit_exp.config.objective import metric_of, rank
from beit_exp.config.traits import SILENT
from beit_exp.errors import UserError
from beit_exp.storage.passwords import hide_password
from beit_exp.tracking import mlflow_read
from beit_exp.tracking.mlflow_store import reason
from beit_exp.tracking.records import read_facts, read_records, read_state, read_sweep

FAILED_FILE = "failed.json"  # left by the launcher: exit status and message
PICTURES = (
    "schedule",
    "confusion",
    "mistakes",
    "reliability",
    "masked",
    "reconstruction",
    "tokens",
    "batch",
)


@dataclass(frozen=True)
class Run:
    """What a run was told, what it logged and what it left."""

    name: str
    status: str  # finished, unfinished, or why it failed
    settings: dict[str, Any]
    records: list[dict[str, Any]]
    pictures: dict[str, bytes]  # PNG by name
    run_id: str | None  # in the tracking store
    facts: dict[str, Any] = field(default_factory=dict)  # of its facts.json
    choices: dict[str, Any] = field(default_factory=dict)  # by swept key, if a job of a sweep
    folder: Path | None = None
    judged_by: str | None = None  # a metric; None: its own objective

    @property
    def objective(self) -> str:
        """The validation metric that the run was to make good, or that it is compared by."""
        return self.judged_by or metric_of(str(self.settings.get("objective", "val/top1")))

    @property
    def best_record(self) -> dict[str, Any] | None:
        """Of the best evaluation by the objective; None if nothing was evaluated."""
        name = self.objective
        found = [record for record in self.records if not math.isnan(record.get(name, math.nan))]
        return max(found, key=lambda record: rank(record, name)) if found else None

    @property
    def best(self) -> tuple[float, float] | None:
        """Best value of the objective and its epoch; None if nothing was evaluated."""
        best = self.best_record
        return None if best is None else (best[self.objective], best["epoch"])

    @property
    def tested(self) -> float | None:
        """The objective as measured on the test set, by the best weights; None without such."""
        name = self.objective.replace("val/", "test/")
        found = [record[name] for record in self.records if name in record]
        return found[-1] if found else None

    @property
    def validation_set(self) -> dict[str, Any] | None:
        """What `describe` says of its validation images; None if the run does not tell."""
        sets = self.facts.get("datasets", [])
        return next((each for each in sets if each["context"] == "validation"), None)

    @property
    def images_per_s(self) -> float | None:
        """See `images_per_s`; None if no step was logged."""
        return images_per_s(self.records)

    @property
    def elapsed_s(self) -> float | None:
        """See `training_s`; None if there is no record."""
        return training_s(self.records) if self.records else None


def images_per_s(records: list[dict[str, Any]]) -> float | None:
    """Median over the logged steps."""
    speeds = [record["time/images_per_s"] for record in records if "time/images_per_s" in record]
    return statistics.median(speeds) if speeds else None


def training_s(records: list[dict[str, Any]]) -> float:
    """Seconds from the first to the last record, without those in which no process trained."""
    pauses = sum(record.get("time/pause_s", 0.0) for record in records)
    return float(records[-1]["time"] - records[0]["time"] - pauses)


def judged_alike(runs: list[Run]) -> list[Run]:
    """The runs, all of them judged by one objective: that of the first, if they have several.

    It is the first of their objectives that every run with a result has one of, for unlike metrics
    cannot be ranked.
    """
    scored = [run for run in runs if run.best is not None]
    for name in dict.fromkeys(run.objective for run in scored):
        if all(replace(run, judged_by=name).best for run in scored):
            return [replace(run, judged_by=name) for run in runs]
    return [replace(run, judged_by=scored[0].objective) for run in runs] if scored else runs


def ranked(runs: Iterable[Run]) -> list[Run]:
    """The best first, of equals by `rank`; those without a result last."""
    scored, others = [], []
    for run in runs:
        best = run.best_record
        if best is None:
            others.append(run)
        else:
            scored.append((rank(best, run.objective), run))
    return [run for _, run in sorted(scored, key=lambda pair: pair[0], reverse=True)] + others


def differing_keys(runs: list[Run]) -> list[str]:
    """Settings that are not the same in all runs, but for those that change no result.

    A store has of each run what its task reads: runs of other tasks do not differ in the rest.
    """
    found: dict[str, set[str]] = {}
    for run in runs:
        for key, value in run.settings.items():
            found.setdefault(key, set()).add(repr(value))
    return [key for key, values in found.items() if not key.startswith(SILENT) and len(values) > 1]


def read_place(place: Path) -> list[Run]:
    """The run of a run directory, or every run of a sweep's; `UserError` if it is neither."""
    folders = [place]
    if not is_run_directory(place):
        folders = (
            sorted(folder for folder in place.iterdir() if is_run_directory(folder))
            if place.is_dir()
            else []
        )
    if not folders:
        raise UserError(
            f"{place} is neither a run directory (config.yaml is missing) "
            "nor the directory of a sweep"
        )
    return [read_directory(folder) for folder in folders]


def is_run_directory(folder: Path) -> bool:
    """Whether a run is, or was to be, in a folder."""
    return (folder / "config.yaml").is_file() or (folder / FAILED_FILE).is_file()


def read_directory(folder: Path) -> Run:
    """A run from its directory alone."""
    path = folder / "metrics.jsonl"
    plots = {name: folder / "plots" / f"{name}.png" for name in PICTURES}
    return Run(
        name=folder.name,
        status=status_of(folder),
        settings=flatten(load_config(folder / "config.yaml"))
        if (folder / "config.yaml").exists()
        else {},
        records=read_records(path) if path.exists() else [],
        pictures={name: path.read_bytes() for name, path in plots.items() if path.exists()},
        run_id=read_state(folder).get("run_id"),
        facts=read_facts(folder),
        choices=read_choices(folder),
        folder=folder,
    )


def read_choices(folder: Path) -> dict[str, Any]:
    """Swept key -> what the name of a job's folder says of it: `optimizer=adamw,train.epochs=1`."""
    swept = read_sweep(folder.absolute().parent).get("swept", [])
    known = "|".join(map(re.escape, swept))
    said = re.findall(rf"(?:^|,)({known})=(.*?)(?=,(?:{known})=|$)", folder.name) if swept else []
    return {**dict.fromkeys(swept), **{key: read_value(text) for key, text in said}}


def read_classes(folder: Path, count: int) -> list[str]:
    """The class names in a run's checkpoints; without one, their numbers from 0 to `count` - 1."""
    from safetensors import SafetensorError, safe_open

    for path in sorted((folder / "checkpoints").glob("*.safetensors")):
        try:
            with safe_open(path, framework="np") as file:
                state = json.loads((file.metadata() or {}).get("state", "{}"))
        except SafetensorError:  # cut short: the report is no place to complain of it
            continue
        if len(state.get("classes", [])) == count:
            return list(state["classes"])
    return [str(number) for number in range(count)]


def status_of(folder: Path) -> str:
    """finished, unfinished, or why it failed."""
    if (folder / FAILED_FILE).exists():
        failure = json.loads((folder / FAILED_FILE).read_text())
        return f"failed ({essence(failure['message'])})"
    return "finished" if (folder / "metrics.json").exists() else "unfinished"


def essence(message: str) -> str:
    """A message in one line: the first, or of a list of problems the first of these."""
    title, *problems = (line.strip() for line in message.splitlines())
    if not title.endswith(":") or not problems:
        return title
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return problems[0] + more


def read_store(uri: str, name: str) -> list[Run]:
    """Runs of an MLflow store: one by its id, a sweep's by its parent's, or all of an experiment.

    An experiment is given by its name. `UserError` if there is none, or if the store fails.
    """
    shown = hide_password(uri)
    try:
        found = mlflow_read.find_runs(uri, name)
    except UserError:
        raise
    except Exception as error:  # whatever the store or its client raise
        raise UserError(f"the tracking store {shown} failed ({reason(error)})") from error
    if not found:
        raise UserError(f"the tracking store {shown} has no run and no experiment {name!r}")
    return [
        Run(
            name=run.name,
            status=run.status.lower(),
            settings={key: read_value(text) for key, text in run.params.items()},
            records=run.records,
            pictures=mlflow_read.read_artifacts(
                uri, run.run_id, {name: f"plots/{name}.png" for name in PICTURES}
            ),
            run_id=run.run_id,
        )
        for run in found
    ]


def read_value(text: str) -> Any:
    """The value that `str` made a parameter's text of."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
