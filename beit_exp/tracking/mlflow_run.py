"""The run of a tracking store that a run directory belongs to: found, or made, once."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from beit_exp.config.mapping import flatten
from beit_exp.config.schema import Config
from beit_exp.config.traits import task_traits
from beit_exp.tracking.mlflow_store import open_experiment
from beit_exp.tracking.records import read_facts, read_state, write_state
from beit_exp.tracking.run_name import run_name, typed_overrides

KEY_TAG = "beit_exp.creation_key"
PARAM_LENGTH = 6000  # MLflow's limit
GONE = "RESOURCE_DOES_NOT_EXIST"


def open_run(cfg: Config, run_dir: Path) -> tuple[Any, str]:
    """An MLflow client and the id of the run that belongs to a run directory.

    The run is created if need be, also where the store has lost it, and is running from now on. Its
    parameters are the settings that its task reads; `config.yaml` holds them all.
    """
    client, experiment_id = open_experiment(str(cfg.tracking.uri), cfg.tracking.experiment)
    state = read_state(run_dir)
    if "run_id" not in state or not _go_on(client, state["run_id"]):
        state = _make_run(client, experiment_id, cfg, run_dir)
    run_id = str(state["run_id"])
    if not state.get("has_settings"):
        _send_settings(client, run_id, cfg)
        write_state(run_dir, {**state, "has_settings": True})
    return client, run_id


def _go_on(client: Any, run_id: str) -> bool:
    """Whether the store has the run, which is running from now on."""
    from mlflow.exceptions import MlflowException

    try:
        client.update_run(run_id, status="RUNNING")
    except MlflowException as error:
        if error.error_code != GONE:
            raise
        return False
    return True


def _make_run(client: Any, experiment_id: str, cfg: Config, run_dir: Path) -> dict[str, Any]:
    """Create a run, and tell the run directory of it.

    A store may do what it is asked and lose its answer, or answer and do nothing. So the run gets a
    key, kept before the store is asked, and counts once the store finds it by that.
    """
    uri, kept = str(cfg.tracking.uri), read_state(run_dir)
    is_asked = kept.get("uri") == uri and "key" in kept and "run_id" not in kept
    key = kept["key"] if is_asked else secrets.token_hex(16)
    if not is_asked:
        write_state(run_dir, {"uri": uri, "key": key})
    if not is_asked or not _find(client, experiment_id, key):
        facts = read_facts(run_dir).get("tags", {})
        name = cfg.tracking.run_name or run_name(typed_overrides(facts), run_dir)
        own = {"beit_exp.run_dir": str(run_dir.resolve()), KEY_TAG: key}
        client.create_run(experiment_id, tags={**cfg.tracking.tags, **facts, **own}, run_name=name)
    found = _find(client, experiment_id, key)
    if not found:
        raise ValueError("it does not have the run that it was asked to create")
    for twin in found[1:]:  # MLflow's client asks again where an answer is lost
        client.delete_run(twin)
    state = {"uri": uri, "key": key, "run_id": found[0]}
    write_state(run_dir, state)
    return state


def _find(client: Any, experiment_id: str, key: str) -> list[str]:
    """The runs with a key, the oldest first."""
    found = client.search_runs(
        [experiment_id], f"tags.`{KEY_TAG}` = '{key}'", order_by=["attributes.start_time ASC"]
    )
    return [str(run.info.run_id) for run in found]


def _send_settings(client: Any, run_id: str, cfg: Config) -> None:
    """Send the parameters that the store lacks: it lets none be changed."""
    from mlflow.entities import Param

    known, is_read = client.get_run(run_id).data.params, task_traits(cfg.task).is_read
    params = [
        Param(key, str(value)[:PARAM_LENGTH])
        for key, value in flatten(cfg).items()
        if is_read(key) and key not in known
    ]
    client.log_batch(run_id, params=params)
