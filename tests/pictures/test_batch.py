from __future__ import annotations

import re

from settings import ROOT, make_config

from beit_exp.tracking.mlflow_sink import SEND_EVERY_S
from pictures.batch import draw
from pictures.palette import LIGHT


def test_every_folder_and_setting_in_the_picture_is_there() -> None:
    svg, cfg = draw(LIGHT), make_config()
    folders = re.findall(r">(beit_exp/\w+/)<", svg)
    assert len(folders) == 3 and all((ROOT / folder).is_dir() for folder in folders)
    settings = re.findall(r"train\.(\w+)", svg)
    assert settings and all(hasattr(cfg.train, name) for name in settings)


def test_what_the_picture_says_of_scale_and_store_is_so() -> None:
    svg, hardware = draw(LIGHT), make_config().hardware
    assert "loss scale halves; it doubles" in svg and "every second" in svg
    assert (hardware.loss_scale_backoff, hardware.loss_scale_growth, SEND_EVERY_S) == (0.5, 2, 1)
