"""The command's answers before any work: quick, complete, without a traceback."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from refused_commands import WRONG_WORDS
from refused_data_settings import WRONG_DATA_SETTINGS
from refused_settings import WRONG_SETTINGS
from refused_tokenizer_settings import WRONG_TOKENIZER_SETTINGS
from settings import ROOT
from whole_runs import Command

from beit_exp import command
from beit_exp.launch.arguments import program_typed
from beit_exp.launch.composition import CONF

REFUSED = WRONG_WORDS | WRONG_SETTINGS | WRONG_DATA_SETTINGS | WRONG_TOKENIZER_SETTINGS
# A command takes half a second to compose, so these stand for all, of which the rest are slow
OTHERS = (WRONG_SETTINGS, WRONG_DATA_SETTINGS, WRONG_TOKENIZER_SETTINGS)
SOME = {*list(WRONG_WORDS)[::3], *(case for cases in OTHERS for case in list(cases)[::8])}
CASES = [case if case in SOME else pytest.param(case, marks=pytest.mark.slow) for case in REFUSED]


Call = Callable[..., "Answer"]


@dataclass(frozen=True)
class Answer:
    """What a command said before any work."""

    status: object
    out: str
    err: str


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> Iterator[Call]:
    """The command in this process, because a new one takes a second to start."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for name in (command.PROGRAM, command.LAUNCH):
        monkeypatch.setenv(name, "")  # what is set in this process is taken back

    def answer(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["launch.py", *arguments])
        GlobalHydra.instance().clear()
        status: object = 0
        try:
            command.main()
        except SystemExit as stop:
            status = stop.code
        return Answer(status, *capfd.readouterr())

    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield answer
    root.setLevel(level)  # Hydra's --info has it tell everything, on a terminal that is gone
    root.handlers[:] = handlers


@pytest.mark.parametrize("case", CASES)
def test_wrong_command_gets_one_clear_message(case: str, tmp_path: Path, call: Call) -> None:
    arguments, message = REFUSED[case]
    done = call(*arguments)
    assert message in done.err
    assert "Traceback" not in done.out + done.err
    assert (done.status, done.out) == (2, "")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert list((tmp_path / "here" / "runs").glob("*")) == []


@pytest.mark.long
@pytest.mark.parametrize("case", REFUSED)
def test_with_a_folder_of_ones_own_the_message_is_the_same(
    case: str, tmp_path: Path, call: Call
) -> None:
    arguments, message = REFUSED[case]
    (tmp_path / "more").mkdir()
    done = call(*arguments, f"--config-dir={tmp_path / 'more'}")
    assert message in done.err
    assert (done.status, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.fixture
def more(tmp_path: Path) -> Path:
    """A folder of a user's own experiments."""
    folder = tmp_path / "more" / "experiment"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("# @package _global_\noptimizer:\n  base_lr: 0.25\n")
    (folder / "wrong.yaml").write_text("# @package _global_\noptimizer:\n  lrr: 1\nseed: x\n")
    return folder.parent


@pytest.mark.parametrize("place", ["--config-dir={}", "hydra.searchpath=[file://{}]"])
def test_an_experiment_of_ones_own_is_found_and_checked(place: str, more: Path, call: Call) -> None:
    found = call("experiment=mine", place.format(more), "--cfg", "job", "--package", "optimizer")
    assert found.status == 0 and "base_lr: 0.25" in found.out
    wrong = call(place.format(more), "experiment=wrong")
    assert (wrong.status, wrong.err) == (
        2,
        "2 settings are wrong:\n  optimizer.lrr: there is no such setting. Did you mean "
        "optimizer.base_lr?\n  seed = 'x': must be a whole number >= 0\n",
    )
    misspelt = call(place.format(more), "experiment=mein")
    assert misspelt.status == 2 and "Did you mean mine?" in misspelt.err
    swept = call("-m", place.format(more), "experiment=mine,wrong")
    assert (swept.status, swept.err) == (2, wrong.err)


def test_a_folder_of_settings_that_is_not_there_is_named(call: Call) -> None:
    done = call("--config-dir=none", "seed=1")
    assert (done.status, done.err) == (2, "--config-dir=none: there is no such folder\n")


def test_completion_offers_settings_and_is_installed_as_hydra_says(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_LINE", "python launch.py optimizer.")
    done = call("-sc", "query=bash")
    assert done.status == 0 and "optimizer.layer_decay=" in done.out.split()
    monkeypatch.setenv("COMP_LINE", "python launch.py optimizer=")
    assert call("-sc", "query=bash").out.split() == [
        f"optimizer={each}" for each in ("adam_weight_decay", "adamw", "momentum")
    ]
    assert "complete" in call("-sc", "install=bash").out


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("tracking.tags={site: lab}", "--package", "tracking.tags"), "site: lab"),
        (("tracking.tags={owner: me}", "--package", "tracking.tags"), "owner: me"),
        (("tracking.tags.site=lab", "--package", "tracking.tags"), "site: lab"),
        (("train={epochs: 3}", "--package", "train.epochs"), "3"),
        (("~train.epochs", "--package", "train"), "train\nbatch_size: 64"),
        (("dataset.data_url=a b=(数据)/x", "--package", "dataset.data_url"), "a b=(数据)/x"),
        (("dataset.data_url=x", "--package", "dataset.data_url", "--resolve"), "x"),
    ],
)
def test_settings_are_shown_as_they_were_typed(
    arguments: tuple[str, ...], shown: str, call: Call
) -> None:
    done = call(*arguments, "--cfg", "job")
    assert (done.status, done.err) == (0, "")
    assert shown in done.out


def test_hydra_tells_where_it_looked(call: Call, more: Path) -> None:
    done = call(f"--config-dir={more}", "--info", "searchpath")
    assert done.status == 0 and str(more) in done.out + done.err


def test_help_names_tasks_groups_and_settings(call: Call) -> None:
    done = call("--help")
    assert (done.status, done.err) == (0, "")
    assert "\n  adamw              Adam with decoupled weight decay" in done.out
    assert "\n  finetune         Fine-tuning" in done.out
    assert (
        "\n  objective=val/top1    the metric that chooses the best weights, "
        "and that a sweep compares\n" in done.out
    )
    assert "python -m beit_exp.doctor --settings)\n" in done.out
    assert done.out.count("\n  python launch.py ") == 4
    for path in CONF.glob("*/*.yaml"):
        assert f"\n  {path.stem} " in done.out
    assert max(map(len, done.out.splitlines())) <= 100


def test_help_names_options_of_ones_own(call: Call, more: Path) -> None:
    assert (
        "\n  mine                  optimizer.base_lr 0.25\n"
        in call("--help", f"--config-dir={more}").out
    )


def test_version_is_ours(call: Call) -> None:
    done = call("--version")
    assert (done.status, done.err) == (0, "")
    assert re.fullmatch(r"beit-exp 0\.1\.0( \([0-9a-f]{7,}\))?\n", done.out)


@pytest.mark.parametrize(
    ("typed", "program"),
    [
        ("launch.py", "python launch.py"),
        ("../a clone/launch.py", "python '../a clone/launch.py'"),
        ("/opt/none/bin/beit-exp", "/opt/none/bin/beit-exp"),
        (str(Path(sys.executable).with_name("beit-exp")), "beit-exp"),
    ],
)
def test_printed_commands_begin_with_the_program_as_it_was_typed(
    typed: str, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert program_typed(typed) == program


def test_a_wrong_command_ends_its_process_so(launch: Command) -> None:
    done = launch("optimizer.lrr=1")
    assert done.returncode == 2
    assert done.stderr == (
        "1 setting is wrong:\n  optimizer.lrr: there is no such setting. Did you mean "
        "optimizer.base_lr?\n"
    )
    assert list(launch.folder.iterdir()) == []


def test_a_wrong_sweep_ends_its_process_before_anything_is_made(
    launch: Command, tmp_path: Path, more: Path
) -> None:
    launch.folder = tmp_path / "here"
    launch.folder.mkdir()
    wrong = ("-m", "optimizer.layer_decay=0.65,1.5", "hydra.sweep.dir=a b=(数据)")
    for places in ((), (f"--config-dir={more}", "experiment=mine")):
        done = launch(*wrong, *places)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "1 setting is wrong:\n  optimizer.layer_decay = 1.5: must be a number > 0 and <= 1\n"
        )
        assert list(launch.folder.iterdir()) == []


def test_an_answer_needs_none_of_the_large_libraries(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom beit_exp.command import main\nlibraries = sys.argv.pop()\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert stop.code == 2\n"
        "print(*set(libraries.split()) & set(sys.modules))"
    )
    large = "mindspore mlflow numpy PIL matplotlib"
    types = f"{large} pydantic"
    for word, libraries in {"--help": types, "optimizer.lrr=1": large, "seed=x": large}.items():
        shown = subprocess.run(
            [sys.executable, "-c", code, word, libraries],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout.splitlines()[-1] == ""


def test_unknown_keys_and_wrong_values_are_reported_together(launch: Command) -> None:
    done = launch("optimizer.lrr=1", "model=beit", "train.epochs=0", "seed=-3")
    assert done.stderr.startswith("4 settings are wrong:")


def test_a_file_that_is_no_yaml_is_named_with_the_line(call: Call, tmp_path: Path) -> None:
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    file = tmp_path / "own" / "experiment" / "mine.yaml"
    file.write_text("# @package _global_\ntrain:\n  epochs: [1\n")
    done = call(f"--config-dir={tmp_path / 'own'}", "experiment=mine")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"{file}, line 4: expected ',' or ']'")


def test_missing_imagenet_says_how_to_try_the_quickstart(launch: Command) -> None:
    done = launch("experiment=imagenet_base")
    assert "To try the project without it, run the quickstart: python " in done.stderr


def test_help_and_composition_need_neither_device_nor_store(launch: Command) -> None:
    help_text, job = launch("--help"), launch("experiment=imagenet_base", "--cfg", "job")
    assert help_text.returncode == 0 and "usage: python " in help_text.stdout
    assert "base_lr: 2.0e-05" in job.stdout
    assert list(launch.folder.iterdir()) == []


def test_launching_from_another_folder_finds_the_configuration(launch: Command) -> None:
    assert launch.folder != ROOT and os.path.isabs(launch.folder)
    assert launch("--cfg", "job").returncode == 0


def test_no_refusal_shows_a_password(call: Call) -> None:
    words = [arguments for arguments, _ in REFUSED.values() if "pa55" in str(arguments)]
    assert len(words) == 6
    shown = [call(*arguments) for arguments in words]
    assert [done.status for done in shown] == [2] * 6
    assert [done for done in shown if "pa5" in done.out + done.err] == []
