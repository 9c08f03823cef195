"""A sweep's own MLflow run, the parent of its jobs' runs. Called by Hydra in the process that launches the jobs."""

from __future__ import annotations

import atexit
import json
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from beit_exp.files import write_atomically
from beit_exp.store import open_experiment, resolve_uri
from beit_exp.tracking import Status

PARENT_FILE = "sweep.json"


class SweepCallback(Callback):
    """Opens the parent run before the first job, leaves its id in the sweep's directory, and ends it.

    A tracking store that fails costs the sweep its parent run and a warning, not its jobs.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        sweep_dir = Path(config.hydra.sweep.dir)
        self.uri = resolve_uri(config.tracking.uri)
        run_id = read_parent(sweep_dir)["run_id"] if (sweep_dir / PARENT_FILE).exists() else None
        try:
            self.client, experiment_id = open_experiment(self.uri, config.tracking.experiment)
            if run_id is not None:
                self.client.update_run(run_id, status="RUNNING")
            else:
                run_id = self._create(config, experiment_id, sweep_dir)
            atexit.register(self._end, run_id, "FAILED")  # a failed job: Hydra then never calls on_multirun_end
        except Exception as error:  # whatever the store or its client raise
            print(f"the sweep has no parent run: the tracking store {self.uri} failed ({type(error).__name__})")
        self.run_id = run_id
        state = {"uri": self.uri, "run_id": run_id, "swept": swept_keys(config)}
        write_atomically(sweep_dir / PARENT_FILE, json.dumps(state).encode())

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        atexit.unregister(self._end)
        if self.run_id is not None:
            self._end(self.run_id, "FINISHED")

    def _create(self, config: DictConfig, experiment_id: str, sweep_dir: Path) -> str:
        tags = {"beit_exp.overrides": " ".join(config.hydra.overrides.task), "beit_exp.sweep_dir": str(sweep_dir)}
        tags["beit_exp.swept"] = " ".join(swept_keys(config))
        return str(self.client.create_run(experiment_id, tags=tags, run_name=sweep_dir.name).info.run_id)

    def _end(self, run_id: str, status: Status) -> None:
        self.client.set_terminated(run_id, status)


def swept_keys(config: DictConfig) -> list[str]:
    """The settings that differ between a sweep's jobs: those given several values, and the sweeper's own."""
    overrides = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
    given = [override.key_or_group for override in overrides if override.is_sweep_override()]
    return [*given, *(key for key in config.hydra.sweeper.get("params") or {} if key not in given)]


def read_parent(sweep_dir: Path) -> dict[str, Any]:
    """`run_id` of the MLflow run that a sweep's jobs belong under, if there is one, and the `swept` keys."""
    return dict(json.loads((sweep_dir / PARENT_FILE).read_text()))
