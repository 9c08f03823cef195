"""A sweep: the MLflow run that is the parent of its jobs' runs.

And with it the name of each job, and the summary at the end.
"""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from beit_exp.config.command_line import launch_command, override
from beit_exp.config.objective import is_lower_better
from beit_exp.errors import UserError
from beit_exp.storage.files import write_atomically
from beit_exp.tracking.mlflow_store import (
    SQLITE,
    open_experiment,
    open_store,
    reason,
    resolve_uri,
)
from beit_exp.tracking.mlflow_write import PARENT_TAG
from beit_exp.tracking.records import SWEEP_FILE, Status, read_sweep
from beit_exp.tracking.run_name import job_run_name

if TYPE_CHECKING:
    from beit_exp.report.runs import Run

SWEEP_DIR = "BEIT_EXP_SWEEP_DIR"  # the sweep that this process has begun


class SweepCallback(Callback):
    """Called by Hydra in the process that launches the jobs, before the first of them.

    Opens the parent run and leaves its id in the sweep's directory. A tracking store that fails
    costs the sweep its parent run and a warning, not its jobs.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        check_direction(config)
        sweep_dir = Path(config.hydra.sweep.dir)
        uri = resolve_uri(config.tracking.uri)
        run_id = known_run_id(sweep_dir)
        try:
            client, experiment_id = open_experiment(uri, config.tracking.experiment)
            if run_id is not None:
                client.update_run(run_id, status="RUNNING")
            else:
                tags = {
                    "beit_exp.overrides": " ".join(config.hydra.overrides.task),
                    "beit_exp.sweep_dir": str(sweep_dir),
                }
                tags["beit_exp.swept"] = " ".join(swept_keys(config))
                run_id = str(
                    client.create_run(experiment_id, tags=tags, run_name=sweep_dir.name).info.run_id
                )
        except Exception as error:  # whatever the store or its client raise
            print(f"the sweep has no parent run: the tracking store {uri} failed ({reason(error)})")
        state: dict[str, Any] = {"uri": uri, "run_id": run_id, "swept": swept_keys(config)}
        state |= {"jobs": count_jobs(config), "command": command_of(config)}
        write_atomically(sweep_dir / SWEEP_FILE, json.dumps(state).encode())
        os.environ[SWEEP_DIR] = str(sweep_dir)


def check_direction(config: DictConfig) -> None:
    """Stop a search that would look for the worst: the process ends with status 2."""
    direction = config.hydra.sweeper.get("direction")
    right = "minimize" if is_lower_better(config.objective) else "maximize"
    if isinstance(direction, str) and direction != right:
        wrong = f"hydra.sweeper.direction = {direction}"
        print(f"{wrong}: must be {right} for objective={config.objective}", file=sys.stderr)
        sys.exit(2)


def job_words(config: DictConfig) -> dict[str, list[str]]:
    """Key -> the overrides that a sweep's jobs may have for it, as the sweeper makes them.

    One where nothing is swept; none where a search draws from an interval.
    """
    given = list(config.hydra.overrides.task)
    parsed = OverridesParser.create().parse_overrides(given)
    keys = {part.key_or_group for part in parsed}
    params = config.hydra.sweeper.get("params") or {}
    more = [f"{key}={value}" for key, value in params.items() if key not in keys]
    found: dict[str, list[str]] = {}
    parsed += OverridesParser.create().parse_overrides(more)
    for word, part in zip([*given, *more], parsed, strict=True):
        if not part.is_sweep_override():
            found[part.key_or_group] = [word]
        elif part.is_interval_sweep():
            found[part.key_or_group] = []
        else:
            values = part.sweep_string_iterator()
            found[part.key_or_group] = [f"{part.get_key_element()}={text}" for text in values]
    return found


def count_jobs(config: DictConfig) -> int:
    """How many jobs a sweep has: a search says so, a grid has one for every combination."""
    trials = config.hydra.sweeper.get("n_trials")
    return int(trials or math.prod(len(words) for words in job_words(config).values()))


def command_of(config: DictConfig) -> str:
    """The command that starts, or goes on with, a sweep."""
    place = "hydra.sweep.dir"
    given = [
        word
        for word in config.hydra.overrides.hydra
        if not word.startswith(("hydra.mode=", f"{place}="))
    ]
    task = list(config.hydra.overrides.task)
    words = [override(place, Path(config.hydra.sweep.dir).absolute())]
    uri = resolve_uri(config.tracking.uri)
    # A file is meant from the folder where this was typed
    if uri.startswith(SQLITE):
        task = [word for word in task if not word.lstrip("+").startswith("tracking.uri=")]
        words.append(override("tracking.uri", uri))
    return launch_command("-m", *given, *task, *words)


def swept_keys(config: DictConfig) -> list[str]:
    """The settings that differ between a sweep's jobs.

    They are those given several values, and the sweeper's own.
    """
    overrides = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
    given = [part.key_or_group for part in overrides if part.is_sweep_override()]
    return [*given, *(key for key in config.hydra.sweeper.get("params") or {} if key not in given)]


def known_run_id(sweep_dir: Path) -> str | None:
    """The run that is the parent of a sweep begun before; one that cannot be told is made anew."""
    try:
        run_id = read_sweep(sweep_dir).get("run_id")
        return None if run_id is None else str(run_id)
    except UserError as error:
        print(f"{error}; the sweep gets another parent run", flush=True)
        return None


def swept_values(sweep_dir: Path, overrides: list[str]) -> dict[str, str]:
    """What tells a job from the others: the value of every swept key among its overrides."""
    swept = read_sweep(sweep_dir)["swept"]
    found = {}
    for part in OverridesParser.create().parse_overrides(overrides):
        if part.key_or_group in swept:
            value = part.value()
            text = f"{value:.6g}" if isinstance(value, float) else part.get_value_element_as_str()
            found[part.key_or_group] = text
    return found


def job_folder(swept: dict[str, str]) -> str:
    """The name of a job's folder, like `optimizer.layer_decay=0.65`.

    So a sweep started again, with more values or in another order, finds the jobs that it has done.
    """
    name = ",".join(f"{key}={value}" for key, value in sorted(swept.items()))
    return name.replace(os.sep, "_") or "job"


def place_under_parent(values: dict[str, Any], sweep_dir: Path, *, swept: dict[str, str]) -> None:
    """Give a job's run its name, and hang it under the sweep's.

    A group that is swept is no setting, so its choice is a tag: a column on MLflow's page.
    """
    parent = read_sweep(sweep_dir)["run_id"]
    tracking = values["tracking"]
    tracking["run_name"] = tracking["run_name"] or job_run_name(swept)
    choices = {
        key: choice
        for key, choice in swept.items()
        if "." not in key and isinstance(values.get(key, {}), dict)
    }
    under = {} if parent is None else {PARENT_TAG: parent}
    tracking["tags"] = {**choices, **tracking["tags"], **under}


def what_is_left(sweep_dir: Path) -> str:
    """How many jobs of a sweep are done, and the command that does the rest."""
    state = read_sweep(sweep_dir)
    done = min(len(list(sweep_dir.glob("*/metrics.json"))), state["jobs"])
    return f"{done} of {state['jobs']} jobs are done; to do the rest: {state['command']}"


def compare(sweep_dir: Path) -> list[Run]:
    """The jobs of a sweep, of which a table is printed and a report is left; `UserError` names a
    file of theirs that is damaged.
    """
    from beit_exp.report.page import as_told, write_report
    from beit_exp.report.runs import is_run_directory, judged_alike, read_place

    if not any(map(is_run_directory, sweep_dir.iterdir())):
        return []
    runs = judged_alike(read_place(sweep_dir))
    print(as_told(runs))
    print(f"report    {write_report(runs, sweep_dir / 'report', title=sweep_dir.name)}", flush=True)
    return runs


def finish(sweep_dir: Path, status: Status) -> None:
    """Compare the jobs: a table on the screen, a report in the sweep's folder.

    All of it goes to the parent run too; a store that fails costs that and a message.
    """
    from beit_exp.report.page import as_markdown, table
    from beit_exp.report.runs import ranked

    parent, runs = read_sweep(sweep_dir), []
    try:
        runs = compare(sweep_dir)
    except UserError as error:  # the jobs are done, whatever became of a file of theirs since
        print(f"the sweep has no report: {error}", file=sys.stderr)
    if status != "FINISHED":
        print(what_is_left(sweep_dir), flush=True)
    if parent["run_id"] is None:
        return
    try:
        client = open_store(parent["uri"])
        if runs:
            client.log_artifacts(parent["run_id"], str(sweep_dir / "report"), "report")
            client.set_tag(parent["run_id"], "mlflow.note.content", as_markdown(*table(runs)))
            best = ranked(runs)[0]
            if best.best is not None:
                client.log_metric(parent["run_id"], f"best/{best.objective}", best.best[0])
                client.set_tag(parent["run_id"], "beit_exp.best_run", best.name)
                client.set_tag(parent["run_id"], "beit_exp.best_run_id", best.run_id or "")
        client.set_terminated(parent["run_id"], status)
    except Exception as error:  # whatever the store or its client raise
        print(
            "the parent run was not completed: "
            f"the tracking store {parent['uri']} failed ({reason(error)})"
        )
