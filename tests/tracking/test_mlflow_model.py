from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from mlflow.models import Model, infer_signature
from pandas import DataFrame
from PIL import Image

from beit_exp.config.answers import columns
from beit_exp.inference.classes import answer_rows
from beit_exp.tracking import mlflow_model
from beit_exp.tracking.mlflow_model import MODEL_TAG, log_model, make_signature
from beit_exp.tracking.tracker import open_tracker


@pytest.fixture
def trained(run):
    """A run that was the best at its second evaluation of three, and names its model."""
    cfg, run_dir = run
    tracking = cfg.tracking.model_copy(update={"log_model": "digits"})
    run = run._replace(cfg=cfg.model_copy(update={"tracking": tracking}))
    (run_dir / "checkpoints").mkdir()
    (run_dir / "checkpoints" / "best.safetensors").write_bytes(b"weights")
    images = {"name": "digits", "source": "/data", "images": 50, "classes": 10}
    with open_tracker(run.cfg, run_dir) as tracker:
        tracker.log_facts(
            datasets=[
                {**images, "context": use, "digest": 32 * digit}
                for use, digit in (("training", "1"), ("validation", "2"))
            ]
        )
        for step, top1 in ((1, 50.0), (2, 80.0), (3, 70.0)):
            metrics = {"val/top1": top1}
            if step < 3:
                metrics["best/val/top1"] = top1
            tracker.log(metrics, step=step, epoch=step)
        tracker.upload(lambda client, run_id: log_model(client, run_id, run.cfg, run_dir))
    return run


def models_of(client, stored):
    return client.search_logged_models([stored.info.experiment_id])


@pytest.mark.slow
def test_a_model_belongs_to_the_runs_experiment_and_holds_the_best_metrics(trained) -> None:
    client, stored = trained.stored()
    (model,) = models_of(client, stored)
    assert (model.source_run_id, model.status) == (stored.info.run_id, "READY")
    assert client.search_logged_models(["0"]) == []
    assert stored.data.tags[MODEL_TAG] == f"models:/{model.model_id}"
    (metric,) = model.metrics
    assert (metric.key, metric.value, metric.step) == ("best/val/top1", 80.0, 2)
    assert (metric.dataset_name, metric.dataset_digest) == ("digits", "22222222")
    assert model.params["optimizer.base_lr"] == "0.002"
    (output,) = stored.outputs.model_outputs
    assert (output.model_id, output.step) == (model.model_id, 2)
    # The run's own history is as it was
    for name, values in (("val/top1", [50.0, 80.0, 70.0]), ("best/val/top1", [50.0, 80.0])):
        history = client.get_metric_history(stored.info.run_id, name)
        assert [metric.value for metric in history] == values
    (version,) = client.search_model_versions("name = 'digits'")
    assert version.source == f"models:/{model.model_id}"


@pytest.mark.slow
def test_a_model_tells_what_it_takes_and_answers_with_an_example(trained) -> None:
    client, stored = trained.stored()
    (model,) = models_of(client, stored)
    folder = Path(model.artifact_location.removeprefix("file://"))
    written = Model.load(folder)
    assert written.signature.inputs.input_names() == ["image", "path"]
    assert written.signature.outputs.input_names() == columns(10, multi_label=False)
    (image,) = written.load_input_example(str(folder))["image"]
    assert Image.open(io.BytesIO(image)).size == (trained.cfg.model.image_size,) * 2
    request = json.loads((folder / "serving_input_example.json").read_text())
    assert len(json.dumps(request)) < 2000
    assert not list(folder.rglob("__pycache__"))


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_signature_is_that_of_the_served_models_answers(run, multi_label: bool) -> None:
    names = [str(number) for number in range(10)]
    rows = answer_rows(np.zeros((1, 10), np.float32), names, multi_label=multi_label)
    answer = DataFrame(rows, columns=columns(10, multi_label=multi_label))
    inferred = infer_signature(answer, answer).outputs
    dataset = run.cfg.dataset.model_copy(update={"multi_label": multi_label})
    outputs = make_signature(run.cfg.model_copy(update={"dataset": dataset})).outputs
    assert outputs.input_names() == inferred.input_names()
    assert outputs.input_types() == inferred.input_types()


@pytest.mark.slow
def test_a_model_whose_upload_failed_is_logged_and_registered_once(
    trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, stored = trained.stored()
    run_id = stored.info.run_id
    log_model(client, run_id, trained.cfg, trained.run_dir)
    assert len(models_of(client, stored)) == 1
    client.delete_tag(run_id, MODEL_TAG)
    write_model = mlflow_model.write_model

    def failing(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(mlflow_model, "write_model", failing)
    with pytest.raises(ConnectionError):
        log_model(client, run_id, trained.cfg, trained.run_dir)
    monkeypatch.setattr(mlflow_model, "write_model", write_model)
    log_model(client, run_id, trained.cfg, trained.run_dir)
    assert len(models_of(client, stored)) == 1
    (output,) = client.get_run(run_id).outputs.model_outputs
    assert output.step == 2
    assert len(client.search_model_versions("name = 'digits'")) == 1
