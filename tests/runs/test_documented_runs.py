"""The documents' commands that a small machine can do, done: tasks on a finished run, short
trainings, modules, collections of tests, and blocks of Python.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from documented_commands import each_once
from documented_launches import PLACEHOLDERS, filled
from documents import Block, own_pages
from settings import OFFICIAL, ROOT, TINY
from whole_runs import Command, metrics_of, small

pytestmark = pytest.mark.slow
LONG = pytest.mark.long
PAGES = own_pages()
WORDS = [each.words for each in each_once(PAGES.values())]
TASKS = {"evaluate", "predict", "explain", "features", "probe", "export", "soup", "check_data"}
# Of other files or machines than are here, or of a whole recipe
ELSEWHERE = (
    *("experiment=", "sweep=", "hydra/", "evaluation.split=test", "evaluation.sets", "labels="),
    *("s3://", "obs://", "device_num=", "node_num=", "hardware=ascend", "task=benchmark", "dalle"),
    *("task=pretrain", "task=train_tokenizer", "model=", "$", "[train.epochs", ".pth", "FOLDER"),
)
OWN = {*sys.stdlib_module_names, "beit_exp", "numpy", "safetensors", "PIL", "yaml", "mlflow"}


def is_done_here(words: tuple[str, ...]) -> bool:
    text = " ".join(words)
    is_other = any(part in text for part in ELSEWHERE) or {"...", "-sc"} & {*words}
    return words[:2] == ("python", "launch.py") and not is_other and " --" not in text


def task_of(words: tuple[str, ...]) -> str:
    return next((word[5:] for word in words if word.startswith("task=")), "finetune")


LAUNCHED = [words for words in WORDS if is_done_here(words)]
CHECKED = [
    words
    for words in WORDS
    if words[:3] == ("python", "launch.py", "task=check_data") and words not in LAUNCHED
]
DONE = [words for words in [*LAUNCHED, *CHECKED] if task_of(words) in TASKS]
TRAINED = [words for words in LAUNCHED if task_of(words) == "finetune"]
MODULES = [
    pytest.param(words, marks=LONG, id=" ".join(words))
    if "--self-check" in words
    else pytest.param(words, id=" ".join(words))
    for words in WORDS
    if re.match(r"python -m beit_exp\.(doctor|report|weights|worker)( |$)", " ".join(words))
    and "--store" not in words
    and len(words) > 3
]
COLLECTED = [
    words for words in WORDS if words[0] == "pytest" and any(part in words for part in ("-m", "-k"))
]
PYTHON = {
    block.text: pytest.param(block, id=f"{page.name}:{block.line}")
    for page in PAGES.values()
    for block in page.blocks
    if block.language == "python"
}


def test_the_documents_hold_commands_that_can_be_done() -> None:
    assert {task_of(words) for words in DONE} >= {"evaluate", "predict", "export"}
    assert len(TRAINED) >= 1 and len(MODULES) >= 3


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, few_digits: Path
) -> tuple[Command, dict[str, str]]:
    """A finished run, and what PATH, RUN and their like stand for."""
    command = Command(tmp_path_factory.mktemp("documented"))
    done = command(*small(few_digits), "hydra.run.dir=run")
    assert done.returncode == 0, done.stdout + done.stderr
    run = str(command.folder / "run")
    runs = dict.fromkeys(("RUN_OR_FILE", "SWEEP_OR_RUN", "SWEEP", "RUN", "IN"), run)
    images = {"PATH": str(few_digits), "PLACE": str(few_digits / "val" / "3")}
    return command, {**PLACEHOLDERS, **runs, **images, "OUT": "out", "WEIGHTS": str(OFFICIAL)}


@pytest.mark.parametrize(
    "words", [*DONE, *(pytest.param(each, marks=LONG) for each in TRAINED)], ids=" ".join
)
def test_a_documented_command_works(
    words: tuple[str, ...], trained: tuple[Command, dict[str, str]], few_digits: Path
) -> None:
    command, places = trained
    tiny = (*TINY, "train.epochs=2", f"dataset.data_url={few_digits}") if words in TRAINED else ()
    folder = "hydra.sweep.dir" if "-m" in words else "hydra.run.dir"
    name = re.sub(r"\W+", "_", " ".join(words[2:])) or "none"
    typed = [filled(word, places) for word in words[2:] if not word.startswith("hydra.")]
    done = command(*typed, *tiny, f"{folder}={name}")
    assert done.returncode == 0, done.stdout + done.stderr
    if "-m" not in words:
        assert metrics_of(command.folder / name)


@pytest.mark.parametrize("words", MODULES)
def test_a_documented_module_works(
    words: tuple[str, ...], trained: tuple[Command, dict[str, str]]
) -> None:
    command, places = trained
    if "--dry-run" in words:
        pytest.skip("tests/runs/test_dry_runs.py does it")
    typed = [filled(word, places) for word in words[1:] if word != "..."]
    done = run([sys.executable, *typed], command.folder)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("words", COLLECTED, ids=" ".join)
def test_a_documented_choice_of_tests_chooses_some(words: tuple[str, ...]) -> None:
    done = run([sys.executable, "-m", "pytest", "--collect-only", "-q", *words[1:]], ROOT)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


@pytest.mark.parametrize("block", PYTHON.values())
def test_documented_python_runs(block: Block, trained: tuple[Command, dict[str, str]]) -> None:
    """But for what needs a package that this one does not, or a server."""
    if imported(block.text) - OWN or "localhost" in block.text:
        pytest.skip("needs what is not installed with this package, or a server")
    command, places = trained
    if "/features/" in block.text:
        places = {**places, "RUN": str(run_of_features(command.folder))}
    code = re.sub(r'"([\w/.]*)"', lambda found: f'"{filled(found[1], places)}"', block.text)
    code = code.replace("runs/own", places["RUN"])
    done = run([sys.executable, "-c", code], command.folder)
    assert done.returncode == 0, done.stderr


def run_of_features(folder: Path) -> Path:
    """What task=features leaves of a network with twelve blocks."""
    place = folder / "of_features" / "features" / "val"
    place.mkdir(parents=True)
    np.save(place / "block11.npy", np.zeros((2, 8), np.float32))
    return folder / "of_features"


def imported(code: str) -> set[str]:
    """The packages that some code imports."""
    names = [
        name
        for node in ast.walk(ast.parse(code))
        for name in (
            [each.name for each in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    ]
    return {name.partition(".")[0] for name in names}


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )
