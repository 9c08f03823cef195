"""The best network of a run as a model in the tracking store."""

from __future__ import annotations

import io
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from PIL import Image

from beit_exp.config.answers import columns
from beit_exp.config.schema import Config
from beit_exp.tracking.mlflow_store import whole_uri
from beit_exp.tracking.mlflow_write import map_entries, short_digest
from beit_exp.tracking.records import read_facts, read_records

SERVED_WITH = (
    "mlflow",
    "mindspore",
    "numba",
    "numpy",
    "pillow",
    "pydantic",
    "pyyaml",
    "safetensors",
    "scipy",
    "simplejpeg",
    "omegaconf",
)
MODEL_TAG = "beit_exp.model"
PACKAGE = Path(__file__).resolve().parent.parent


def log_model(client: Any, run_id: str, cfg: Config, run_dir: Path) -> None:
    """Log the best network as an MLflow model that takes images (see `served.py`), once.

    It belongs to the run and its experiment, holds the metrics of the evaluation that chose it, and
    is registered by the name `tracking.log_model`.
    """
    run = client.get_run(run_id)
    if MODEL_TAG in run.data.tags:
        return
    import mlflow

    experiments = [run.info.experiment_id]
    begun = client.search_logged_models(experiments, f"source_run_id = '{run_id}'")
    model = (begun or [create_model(client, run, cfg)])[0]
    link_metrics(client, run, model.model_id, run_dir)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        write_model(place, cfg, run_dir, run_id=run_id, model_id=model.model_id)
        client.log_model_artifacts(model.model_id, str(place))
    client.finalize_logged_model(model.model_id, "READY")
    uri = f"models:/{model.model_id}"
    if not client.search_model_versions(f"source_path = '{uri}'"):
        # Registering a model knows no client
        mlflow.set_tracking_uri(whole_uri(str(cfg.tracking.uri)))
        mlflow.register_model(uri, cfg.tracking.log_model)
    client.set_tag(run_id, MODEL_TAG, uri)


def create_model(client: Any, run: Any, cfg: Config) -> Any:
    """The model's entry in the store, which has no files yet."""
    return client.create_logged_model(
        run.info.experiment_id,
        name=cfg.model.arch,
        source_run_id=run.info.run_id,
        params=run.data.params,
        model_type="image classification",
    )


def link_metrics(client: Any, run: Any, model_id: str, run_dir: Path) -> None:
    """Say that the best evaluation's metrics are the model's, and at what step the run made it."""
    from mlflow.entities import LoggedModelOutput, Metric

    records = read_records(run_dir / "metrics.jsonl")
    bests = [entry for entry in map_entries(records) if entry.name.startswith("best/")]
    step = bests[-1].step if bests else 0
    measured_on = validation_set(read_facts(run_dir))
    metrics = [
        Metric(*entry, model_id=model_id, **measured_on) for entry in bests if entry.step == step
    ]
    client.log_batch(run.info.run_id, metrics=metrics)
    if not run.outputs.model_outputs:
        client.log_outputs(run.info.run_id, [LoggedModelOutput(model_id, step=step)])


def validation_set(facts: dict[str, Any]) -> dict[str, str]:
    """The data set of a training's evaluations, as MLflow's metrics name it; none if not known."""
    for found in facts.get("datasets", []):
        if found["context"] == "validation":
            return {"dataset_name": found["name"], "dataset_digest": short_digest(found)}
    return {}


def write_model(place: Path, cfg: Config, run_dir: Path, *, run_id: str, model_id: str) -> None:
    """Write the model's files: this package, the settings, the weights, and what it takes and
    answers.
    """
    import mlflow
    import pandas

    mlflow.pyfunc.save_model(
        place,
        mlflow_model=mlflow.models.Model(run_id=run_id, model_id=model_id, model_uuid=model_id),
        python_model=str(PACKAGE / "inference" / "served.py"),
        code_paths=[str(PACKAGE)],
        artifacts={
            "config": str(run_dir / "config.yaml"),
            "checkpoint": str(run_dir / "checkpoints" / "best.safetensors"),
        },
        signature=make_signature(cfg),
        input_example=pandas.DataFrame({"image": [example_image(cfg)]}),
        pip_requirements=[f"{name}=={metadata.version(name)}" for name in SERVED_WITH],
    )


def make_signature(cfg: Config) -> Any:
    """Image bytes, or paths if the server allows -> likeliest classes and probabilities."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    inputs = [ColSpec("binary", "image", required=False), ColSpec("string", "path", required=False)]
    outputs = [
        ColSpec("double" if name.startswith("probability") else "string", name)
        for name in columns(cfg.dataset.num_classes, multi_label=cfg.dataset.multi_label)
    ]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def example_image(cfg: Config) -> bytes:
    """A grey PNG of the model's size, of some hundred bytes: no image of anybody's data."""
    side = cfg.model.image_size
    file = io.BytesIO()
    Image.new("RGB", (side, side), (128, 128, 128)).save(file, format="PNG", optimize=True)
    return file.getvalue()
