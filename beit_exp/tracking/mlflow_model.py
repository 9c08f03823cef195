"""The best network of a run as a model in the tracking store."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from beit_exp.config.schema import Config

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
    "omegaconf",
)
MODEL_TAG = "beit_exp.model"
PACKAGE = Path(__file__).resolve().parent.parent


def log_model(client: Any, run_id: str, cfg: Config, run_dir: Path) -> None:
    """Log the best network as an MLflow model that takes images (see `served.py`), once.

    It is registered by the name `tracking.log_model`.
    """
    if MODEL_TAG in client.get_run(run_id).data.tags:
        return
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema

    mlflow.set_tracking_uri(str(cfg.tracking.uri))  # logging a model knows no client
    inputs = [ColSpec("binary", "image", required=False), ColSpec("string", "path", required=False)]
    logged = Model.log(
        artifact_path=None,  # the name before MLflow 3
        name=cfg.model.arch,
        flavor=mlflow.pyfunc,
        run_id=run_id,
        registered_model_name=cfg.tracking.log_model,
        python_model=str(PACKAGE / "inference" / "served.py"),
        code_paths=[str(PACKAGE)],
        artifacts={
            "config": str(run_dir / "config.yaml"),
            "checkpoint": str(run_dir / "checkpoints" / "best.safetensors"),
        },
        signature=ModelSignature(inputs=Schema(inputs)),
        pip_requirements=[f"{name}=={metadata.version(name)}" for name in SERVED_WITH],
    )
    client.set_tag(run_id, MODEL_TAG, logged.model_uri)
