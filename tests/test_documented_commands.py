"""Every command of the documents is of a known kind and valid; blocks of data are what they say.

What a small machine can do is done by tests/runs/test_documented_runs.py.
"""

from __future__ import annotations

import ast
import csv
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from documented_commands import Command, each_once, split, untranslated_commands
from documented_launches import label_table, parsed, refusal_of, refusals, wrong_launch
from documented_programs import wrong
from documents import Block, own_pages, read_page
from settings import compose
from whole_runs import write_run

from beit_exp.config.mapping import build_config
from beit_exp.hardware.nodes import check_place, find_place
from beit_exp.launch.composition import build_lookup
from beit_exp.launch.found_settings import find_settings
from beit_exp.launch.overrides import find_problems

PAGES = own_pages()
COMMANDS = each_once(PAGES.values())
BLOCKS = [(name, block) for name, page in PAGES.items() for block in page.blocks]
ONLY_ENGLISH: dict[str, str] = {}  # a command that only the English pages show, and why


def blocks_of(*languages: str) -> list[pytest.param]:
    """The blocks in these languages, each text once."""
    found = {block.text: (name, block) for name, block in BLOCKS if block.language in languages}
    return [pytest.param(block, id=f"{name}:{block.line}") for name, block in found.values()]


@pytest.fixture(scope="module")
def places(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Something on this machine for the placeholders that a command reads while it checks."""
    folder = tmp_path_factory.mktemp("documented")
    images, run = few_digits / "train", folder / "run"
    (run / "plots").mkdir(parents=True)
    write_run(run, f"dataset.data_url={few_digits}", top1=(50.0, 60.0))
    names = ("RUN", "RUN_OR_FILE", "SWEEP_OR_RUN", "SWEEP")
    table = str(label_table(images, folder / "labels.csv"))
    return {**dict.fromkeys(names, str(run)), "PATH": str(images), "FILE.csv": table}


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_documented_command_is_valid(command: Command, places: dict[str, str]) -> None:
    assert list(wrong(command, places)) == [], command.places


@pytest.mark.parametrize("block", blocks_of("bash"))
def test_bash_reads_a_documented_block(block: Block) -> None:
    done = subprocess.run(
        ["bash", "-n"], input=block.text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("command", "message"),
    sorted({each for _, block in BLOCKS for each in refusals(block)}),
)
def test_a_refusal_on_a_page_is_what_the_command_says(command: str, message: str) -> None:
    (typed,) = split(command)
    assert typed.words[:2] == ("python", "launch.py")
    assert refusal_of(typed.words[2:]) == message.rstrip()


@pytest.mark.parametrize("block", blocks_of("yaml", "json", "csv", "python"))
def test_a_documented_block_is_what_it_says(
    block: Block, places: dict[str, str], tmp_path: Path
) -> None:
    assert list(wrong_block(block, places, tmp_path)) == []


def wrong_block(block: Block, places: Mapping[str, str], folder: Path) -> Iterator[str]:
    """What is wrong with a block of data or of Python, if anything."""
    try:
        if block.language == "python":
            ast.parse(block.text)
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "csv":
            widths = {len(row) for row in csv.reader(block.text.splitlines())}
            yield from () if len(widths) == 1 else [f"rows of {sorted(widths)} columns"]
        elif "@package _global_" in block.text:
            yield from wrong_experiment(block.text, folder)
        else:
            for document in yaml.safe_load_all(block.text):
                for words in commands_in(document):
                    yield from wrong_launch(words, places)
    except (SyntaxError, ValueError, yaml.YAMLError) as error:
        yield str(error)


def commands_in(value: object) -> Iterator[list[str]]:
    """The arguments of launch.py in every list of words of a YAML file."""
    if isinstance(value, dict):
        for each in value.values():
            yield from commands_in(each)
    elif isinstance(value, list):
        beginnings = ["python", "launch.py"], ["beit-exp"]
        for first in beginnings:
            if value[: len(first)] == first:
                yield [str(word) for word in value[len(first) :]]
        for each in value:
            yield from commands_in(each)


def wrong_experiment(text: str, folder: Path) -> Iterator[str]:
    """What is wrong with an experiment of the reader's own."""
    (folder / "experiment").mkdir(exist_ok=True)
    (folder / "experiment" / "mine.yaml").write_text(text)
    typed = parsed(["experiment=mine"], {})
    typed.config_dir = str(folder)
    found = find_problems(build_lookup(typed), typed)
    yield from (*found.settings, *found.others)


def test_the_job_for_kubernetes_is_a_valid_run_of_two_nodes() -> None:
    (text,) = {block.text for _, block in BLOCKS if "kind: Job" in block.text}
    job = yaml.safe_load(text)
    name, (task,) = job["metadata"]["name"], job["spec"]["tasks"]
    assert {"env", "svc"} <= job["spec"]["plugins"].keys()
    hosts = [f"{name}-{task['name']}-{index}.{name}" for index in range(task["replicas"])]
    pod = {f"VC_{task['name'].upper()}_HOSTS": ",".join(hosts), "VC_TASK_INDEX": "1"}
    place = find_place(pod)
    assert place is not None and (place.number, place.count, place.address) == (1, 2, hosts[0])
    (container,) = task["template"]["spec"]["containers"]
    words = [word for word in container["command"][2:] if not word.startswith("hydra.")]
    assert len(words) == len(container["command"]) - 3  # and names the run's directory
    hardware = build_config(find_settings(compose(*words))).hardware
    check_place(place, node_num=hardware.node_num, device_num=hardware.device_num)
    cards = container["resources"]["limits"]["huawei.com/Ascend910"]
    assert hardware.device_num == cards


def test_both_languages_show_the_same_commands() -> None:
    assert untranslated_commands(PAGES, ONLY_ENGLISH) == []


def test_a_command_of_one_language_alone_is_seen() -> None:
    pages = {
        "A.md": read_page("A.md", "`python launch.py seed=1` `python launch.py seed=2`"),
        "A_CN.md": read_page("A_CN.md", "`python launch.py seed=1` `python launch.py seed=3`"),
    }
    assert untranslated_commands(pages, {}) == [
        "A_CN.md: not in A.md: python launch.py seed=3",
        "A_CN.md: lacks python launch.py seed=2",
    ]
    assert len(untranslated_commands(pages, {"python launch.py seed=2": "why"})) == 1


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", "import torch\nx = ("),
        ("json", '{"a": 1,}'),
        ("csv", "path,label\na.png\n"),
        ("yaml", "a: [1"),
        ("yaml", "command: [python, launch.py, optimizer.lrr=3]"),
        ("yaml", "command: [beit-exp, optimizer.lrr=3]"),
        ("yaml", "# @package _global_\noptimizer:\n  lrr: 1\n"),
        ("yaml", "# @package _global_\noptimizer:\n  base_lr: -1\n"),
    ],
)
def test_a_block_that_is_not_what_it_says_is_seen(language: str, text: str, tmp_path: Path) -> None:
    assert list(wrong_block(Block(language, text, 1), {}, tmp_path)) != []


def test_an_experiment_of_ones_own_is_composed(tmp_path: Path) -> None:
    text = "# @package _global_\noptimizer:\n  base_lr: 3e-5\n"
    assert list(wrong_block(Block("yaml", text, 1), {}, tmp_path)) == []
