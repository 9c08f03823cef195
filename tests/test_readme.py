"""The documents' commands: each composes to a valid run, and those that a small machine can do are
done.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from settings import GOLDEN, ROOT, TINY, compose
from whole_runs import Command, metrics_of, small

from beit_exp.config.mapping import build_config
from beit_exp.hardware.nodes import check_place, find_place
from beit_exp.launch.arguments import hydra_arguments
from beit_exp.launch.found_settings import find_settings

DOCUMENTS = ("README.md", "README_CN.md")
OPTIONS_OF_HYDRA = ("--help", "--cfg", "job", "-m")
OTHER = ("hydra/launcher=", "experiment=NAME")  # a plugin's settings; a name to choose
WEIGHTS = str(GOLDEN / "model" / "rel_pos" / "official.pth")
NEEDED = {"RUN_OR_FILE", "SWEEP_OR_RUN", "RUN", "PLACE", "PATH", "N", "WEIGHTS"}


def commands(document: str) -> list[str]:
    """Every `python ...` command in blocks and in text, without comments and
    placeholders for more.
    """
    text = (ROOT / document).read_text()
    blocks = [
        line
        for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
    ]
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    inline = re.findall(r"`(python (?:launch\.py|-m beit_exp\.\w+)[^`]*)`", outside)
    found = [re.split(r"\s{2,}#", line)[0].strip() for line in [*blocks, *inline]]
    return sorted(
        {command for command in found if re.match(r"python (launch|-m beit_exp)", command)}
    )


def overrides_of(command: str, places: dict[str, str]) -> list[str]:
    """The settings in a command, with places of this machine for PATH, RUN and their like."""
    words = shlex.split(command.removesuffix("\\"))[2:]
    return [filled(word, places) for word in words if word not in OPTIONS_OF_HYDRA]


def filled(word: str, places: dict[str, str]) -> str:
    key, equals, value = word.rpartition("=")
    return f"{key}{equals}{places.get(value, value)}"


LAUNCHES = [
    (document, line) for document in DOCUMENTS for line in commands(document) if "launch.py" in line
]
COMPOSED = [
    (document, line) for document, line in LAUNCHES if not any(part in line for part in OTHER)
]


def test_the_documents_hold_commands() -> None:
    assert len(COMPOSED) > 25
    assert {document for document, _ in COMPOSED} == set(DOCUMENTS)


@pytest.mark.parametrize(("document", "command"), COMPOSED)
def test_a_documented_command_is_a_valid_run(document: str, command: str, few_digits: Path) -> None:
    places = dict.fromkeys(NEEDED, "somewhere") | {"N": "10"}
    places |= {"PATH": str(few_digits), "WEIGHTS": WEIGHTS}
    overrides = overrides_of(command, places)
    # Of a sweep, its first job
    single = [re.sub(r"^([\w.]+)=([^\[,]+),.*", r"\1=\2", word) for word in overrides]
    assert build_config(find_settings(compose(*hydra_arguments(single)))).seed >= 0


def test_the_job_for_kubernetes_is_a_valid_run_of_two_nodes() -> None:
    text = (ROOT / "README.md").read_text()
    job = yaml.safe_load(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
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


def test_both_documents_show_the_same_runs() -> None:
    assert {command for command in commands("README_CN.md") if "runs/" in command} <= set(
        commands("README.md")
    )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_documented_test_stands_where_it_is_said_to(document: str) -> None:
    text = (ROOT / document).read_text()
    named = re.findall(r"`([\w/]+/test_\w+\.py)`", text)
    typed = [
        word
        for command in re.findall(r"`(pytest [^`]+)`", text)
        for word in command.split()
        if word.startswith("tests")
    ]
    places = [*(name.removeprefix("tests/") for name in named), *(word[6:] for word in typed)]
    assert places and [place for place in places if not list((ROOT / "tests").glob(place))] == []


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, few_digits: Path
) -> tuple[Command, dict[str, str]]:
    """A finished run, and what PATH, RUN and their like stand for."""
    command = Command(tmp_path_factory.mktemp("documented"))
    done = command(*small(few_digits), "hydra.run.dir=run")
    assert done.returncode == 0, done.stdout + done.stderr
    run_dir = str(command.folder / "run")
    places = {
        "RUN_OR_FILE": run_dir,
        "SWEEP_OR_RUN": run_dir,
        "RUN": run_dir,
        "runs/own": run_dir,
        "PLACE": str(few_digits / "val" / "3"),
        "PATH": str(few_digits),
    }
    return command, places | {
        "N": "10",
        "WEIGHTS": WEIGHTS,
        "IN": run_dir,
        "OUT.safetensors": "out.safetensors",
    }


TASKS = (
    "task=evaluate",
    "task=predict",
    "task=explain",
    "task=features",
    "task=probe",
    "task=export",
    "task=soup",
    "task=check_data",
)
DONE = sorted(
    {
        command
        for _, command in COMPOSED
        if any(task in command for task in TASKS)
        and "split=test" not in command  # the run has no test set; test_own_images.py does it
    }
)
TRAINED = sorted(
    {
        command
        for _, command in COMPOSED
        if "task=" not in command
        and "experiment=" not in command
        and "sweep=" not in command
        and "--" not in command
    }
)
LONG = pytest.mark.long
MODULES = [
    pytest.param(line, marks=LONG) if "--self-check" in line else line
    for line in commands("README.md")
    if re.match(r"python -m beit_exp\.\w+ .", line)
]


@pytest.mark.slow
@pytest.mark.parametrize("line", [*DONE, *(pytest.param(each, marks=LONG) for each in TRAINED)])
def test_a_documented_command_works(
    line: str, trained: tuple[Command, dict[str, str]], few_digits: Path
) -> None:
    command, places = trained
    tiny = (*TINY, "train.epochs=2", f"dataset.data_url={few_digits}") if line in TRAINED else ()
    sweep = ("-m",) if " -m " in line else ()
    folder = "hydra.sweep.dir" if sweep else "hydra.run.dir"
    name = re.sub(r"\W+", "_", line)
    done = command(*sweep, *overrides_of(line, places), *tiny, f"{folder}={name}")
    assert done.returncode == 0, done.stdout + done.stderr
    if not sweep:
        assert metrics_of(command.folder / name)


@pytest.mark.slow
@pytest.mark.parametrize("line", MODULES)
def test_a_documented_module_works(line: str, trained: tuple[Command, dict[str, str]]) -> None:
    command, places = trained
    words = [places.get(word, word) for word in shlex.split(line)[1:]]
    done = subprocess.run(
        [sys.executable, *words], cwd=command.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
