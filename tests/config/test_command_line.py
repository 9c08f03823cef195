from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from settings import ROOT

from beit_exp.config.command_line import FLAGS, PROGRAM, launch_command, module_command, override

AWKWARD = (
    "runs/2026-11-24_13-17-14_12b8",
    "a b=(数据)",
    "runs/sw/optimizer.layer_decay=0.65,seed=1",
    "~/runs/x",
    "it's",
    'say "x"',
    "back\\slash",
    "end\\",
    "quote\\'s",
    "[1]",
    "{a: b}",
    "2024",
    "1e5",
    "null",
    "True",
    "a,b",
    "#x",
    "50%",
    "s3://bucket/key",
    "sqlite:////tmp/a b/mlflow.db",
    " leading and trailing ",
    "-dash",
    "$HOME",
)


@pytest.mark.parametrize("text", AWKWARD)
def test_hydra_reads_a_printed_override_as_the_text_that_was_meant(text: str) -> None:
    parsed = OverridesParser.create().parse_overrides([override("checkpoint", text)])[0]
    assert parsed.key_or_group == "checkpoint"
    assert parsed.value() == text
    assert not parsed.is_sweep_override()


def test_plain_paths_stay_as_they_are() -> None:
    assert override("checkpoint", "runs/x_1.2/y-3") == "checkpoint=runs/x_1.2/y-3"


@pytest.mark.parametrize("text", AWKWARD)
def test_a_shell_splits_a_printed_command_into_the_words_that_were_meant(text: str) -> None:
    typed = override("checkpoint", text)
    assert shlex.split(launch_command("task=export", typed))[2:] == ["task=export", typed]
    assert shlex.split(module_command("report", text)) == ["python", "-m", "beit_exp.report", text]


def test_a_command_names_the_program_that_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROGRAM, "beit-exp")
    assert launch_command("seed=1") == "beit-exp seed=1"


def test_ones_own_settings_are_found_by_printed_commands_that_need_them(monkeypatch) -> None:
    monkeypatch.setenv(PROGRAM, "beit-exp")
    monkeypatch.setenv(FLAGS, "--config-dir '/my conf'")
    assert launch_command("seed=1") == "beit-exp --config-dir '/my conf' seed=1"
    assert launch_command() == "beit-exp"


def test_a_process_that_the_command_did_not_start_names_a_program_that_is_there(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.delenv(PROGRAM, raising=False)
    monkeypatch.delenv(FLAGS, raising=False)
    monkeypatch.chdir(ROOT)
    assert launch_command() == "python launch.py"
    monkeypatch.chdir(tmp_path)
    assert launch_command() == f"python {ROOT / 'launch.py'}"
