"""The best network as an MLflow model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from whole_runs import Command, small

pytestmark = pytest.mark.slow


def test_the_best_network_is_served_as_task_predict_answers(
    launch: Command, few_digits: Path
) -> None:
    done = launch(
        *small(few_digits),
        "tracking.log_model=digits",
        "tracking.system_metrics=true",
        "hydra.run.dir=run",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "system/cpu_percent" in launch.runs()[0].data.metrics
    best = "checkpoint=run/checkpoints/best.safetensors"
    settings = small(few_digits)[:-1]
    assert (
        launch(
            "task=predict", best, *settings, f"images={few_digits / 'val'}", "hydra.run.dir=p"
        ).returncode
        == 0
    )
    script = (
        "import mlflow, pandas, sys; from pathlib import Path\n"
        f"mlflow.set_tracking_uri('sqlite:///{launch.folder / 'mlflow.db'}')\n"
        "model = mlflow.pyfunc.load_model('models:/digits/1')\n"
        "expected = pandas.read_csv('p/predictions.csv', dtype={f'class{n}': str for n in "
        "range(1, 6)})\n"
        "paths = expected.pop('path')\n"
        "by_path = model.predict(pandas.DataFrame({'path': paths}))\n"
        "by_bytes = model.predict(pandas.DataFrame({'image': [Path(path).read_bytes() for path "
        "in paths]}))\n"
        "pandas.testing.assert_frame_equal(by_path, by_bytes)\n"
        "pandas.testing.assert_frame_equal(by_path, expected, atol=2e-6)\n"
        "answered = model.predict(model.input_example)\n"
        "assert list(answered) == model.metadata.get_output_schema().input_names()\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["BEIT_EXP_IMAGES"] = str(few_digits)
    loaded = subprocess.run(
        [sys.executable, "-c", script],
        cwd=launch.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
