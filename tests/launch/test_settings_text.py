from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from settings import ROOT

from beit_exp.config.schema import setting_names
from beit_exp.errors import UserError
from beit_exp.launch import settings_text as module
from beit_exp.launch.settings_text import main, settings_text


@pytest.mark.parametrize("width", [60, 80, 300])
def test_all_settings_are_told_within_the_width(width: int) -> None:
    lines = settings_text("", width=width).splitlines()
    too_long = [line for line in lines if len(line) > min(width, 120)]
    assert all("launch.py" in line or " " not in line.strip() for line in too_long)
    assert {line.split()[0] for line in lines if line.startswith("  ")} >= set(setting_names())


def test_a_setting_is_told_with_default_range_and_an_example() -> None:
    text = settings_text("optimizer.layer_decay", width=100)
    assert "  optimizer.layer_decay  layer-wise learning rates: " in text
    assert "[default 1.0; a number > 0 and <= 1 or auto]" in text
    assert "\n  python launch.py optimizer=adamw " in text
    assert "optimizer.eps" not in text


def test_a_group_is_told_with_its_options() -> None:
    text = settings_text("hardware", width=100)
    assert "options, chosen by hardware=NAME; unless said, hardware=auto" in text
    assert "\n  ascend_8p  Eight Ascend cards of one server" in text


def test_a_narrow_terminal_has_meanings_below_their_settings() -> None:
    assert "\n  probe.few_shot_draws\n      draws of these" in settings_text("probe", width=60)


def test_a_wrong_name_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"Did you mean optimizer\.layer_decay"):
        settings_text("optimizer.layer_decays", width=80)
    assert main("optimzer", is_writing=False) == 2
    told = "optimzer: there is no such setting. Did you mean optimizer?\n"
    assert tuple(capsys.readouterr()) == ("", told)


def test_pages_are_written_on_demand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = [Path("conf/model/README.md")]
    monkeypatch.setattr(module, "write_pages", lambda: [written.pop()] if written else [])
    assert main("", is_writing=True) == main("", is_writing=True) == 0
    told = "conf/model/README.md\nall pages are as they should be\n"
    assert capsys.readouterr().out == told


def test_settings_are_told_without_mindspore_and_mlflow() -> None:
    code = (
        "import sys; from beit_exp import doctor; status = doctor.main(['--settings']); "
        "sys.exit(status or any(name in sys.modules for name in ('mindspore', 'mlflow', 'numpy')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"") and b"model.depth" in done.stdout
