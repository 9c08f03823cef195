from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from pandas import DataFrame
from PIL import Image
from settings import make_config

from beit_exp.data.transforms import make_eval_transform
from beit_exp.errors import UserError
from beit_exp.inference import served
from beit_exp.inference.received import REFUSAL


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> served.ServedModel:
    """A served model whose network sees the brightness of an image."""
    model, cfg = served.ServedModel(), make_config()
    model.classes, model.multi_label = ["dark", "bright"], False
    model.transform = make_eval_transform(cfg.dataset, image_size=8)
    model.folder, model.one_at_a_time, model.network = None, threading.Lock(), None

    def brightness(_: object, batches, *, batch_size: int) -> np.ndarray:
        means = np.concatenate([images.mean((1, 2, 3)) for images, _ in batches])
        return np.stack([-means, means], axis=1)

    monkeypatch.setattr(served, "predict_all", brightness)
    return model


def test_a_client_reads_no_file_of_the_server_unless_a_folder_is_named(
    model: served.ServedModel, tmp_path: Path
) -> None:
    for name, grey in (("black", 0), ("white", 255)):
        Image.new("L", (8, 8), grey).save(tmp_path / f"{name}.png")
    paths = DataFrame({"path": ["white.png", "black.png"]})
    with pytest.raises(UserError) as caught:
        model.predict(None, paths)
    assert str(caught.value) == REFUSAL
    model.folder = tmp_path
    sent = DataFrame({"image": [(tmp_path / name).read_bytes() for name in paths["path"]]})
    by_path, by_bytes = model.predict(None, paths), model.predict(None, sent)
    assert list(by_path["class1"]) == ["bright", "dark"]
    assert by_path.equals(by_bytes)
    with pytest.raises(UserError) as caught:
        model.predict(None, DataFrame({"path": ["white.png", str(Path(__file__))]}))
    assert str(caught.value) == REFUSAL
