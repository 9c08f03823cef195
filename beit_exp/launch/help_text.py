"""What `--help` and `--version` say."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import yaml

from beit_exp.config.command_line import launch_command
from beit_exp.config.task_name import TaskName
from beit_exp.launch.composition import CONF, CONFIG_NAME, HERE, Lookup, groups, options

WIDTH = 100
EXAMPLES = {
    "the quickstart, with one setting changed": ("optimizer.base_lr=1e-3",),
    "a recipe on your own ImageNet": (
        "experiment=imagenet_base",
        "dataset.data_url=/data/imagenet",
    ),
    "a sweep of two choices and two values": ("-m", "optimizer=adamw,momentum", "seed=1,2"),
}
FLAGS = {
    "--cfg job": "print the settings and end; with --package train those of train",
    "-m, --multirun": "a sweep: keys may have several values",
    "--config-dir DIR": "also look for options, such as DIR/experiment/mine.yaml, here",
    "--info, --hydra-help": "what Hydra did, and its own flags",
    "-sc install=bash": "completion of keys and options with the tabulator",
    "--version": "the version, and the commit of a clone",
}


def help_text(lookup: Lookup) -> str:
    """The tasks, the groups with their options, the root's settings, and commands to begin with."""
    root = (CONF / f"{CONFIG_NAME}.yaml").read_text()
    defaults = {
        group: option
        for each in yaml.safe_load(root)["defaults"]
        if isinstance(each, dict)
        for group, option in each.items()
    }
    lines = [f"usage: {launch_command()} [group=option] [setting=value] [flags]", ""]
    for meaning, words in EXAMPLES.items():
        lines += [f"  # {meaning}", f"  {launch_command(*words)}"]
    lines += ["", "task=", *_table({task: _task_line(task) for task in get_args(TaskName)})]
    for group in groups(lookup):
        lines += [
            "",
            f"{group}=" + (f"   (unless said: {defaults[group]})" if defaults.get(group) else ""),
        ]
        lines += _table(
            {each: _option_line(lookup, group, each) for each in options(lookup, group)}
        )
    lines += ["", "settings of the root (every setting: --cfg job)", *_table(_root_settings(root))]
    return "\n".join([*lines, "", "flags", *_table(FLAGS)])


def version_text() -> str:
    """`beit-exp 0.1.0`, in a clone with its commit."""
    project = HERE.parent / "pyproject.toml"
    found = re.search(r'^version = "(.+)"', project.read_text(), re.M) if project.exists() else None
    version = found[1] if found else metadata.version("beit-exp")
    commit = ""
    if found and (HERE.parent / ".git").exists() and shutil.which("git"):
        git = ["git", "-C", str(HERE.parent), "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return f"beit-exp {version}" + (f" ({commit})" if commit else "")


def _table(rows: dict[str, str]) -> list[str]:
    width = max(map(len, rows), default=0)
    room = WIDTH - width - 4
    return [f"  {name:{width}}  {_shortened(text, room)}".rstrip() for name, text in rows.items()]


def _shortened(text: str, room: int) -> str:
    """A text up to the last pause that fits, if it is too long."""
    if len(text) <= room:
        return text
    pauses = [found.start() for found in re.finditer(r"[,;:.] | \(", text[: room + 1])]
    return text[: pauses[-1]] if pauses else text[: room - 3] + "..."


def _task_line(task: str) -> str:
    module = ast.parse((HERE / "tasks" / f"{task}.py").read_text())  # importing it takes seconds
    return (ast.get_docstring(module) or "").split("\n\n")[0].replace("\n", " ").rstrip(".")


def _option_line(lookup: Lookup, group: str, option: str) -> str:
    """An option's first comment that is no command, or the values in its file."""
    for source in lookup.places.get_sources():
        path = Path(source.path) / group / f"{option}.yaml"
        if source.scheme() == "file" and path.is_file():
            text = path.read_text()
            break
    else:
        return ""
    comments = [line[2:] for line in text.splitlines() if line.startswith("# ")]
    told = [line for line in comments if not line.startswith(("@package", "python launch.py"))]
    told += re.findall(r"^(?:name|device_target): \S+ +# (.*)", text)
    if told:
        return told[0].removeprefix("expected: ").partition(" - measured")[0].rstrip(".")
    try:
        return ", ".join(_values(yaml.safe_load(text) or {}))
    except yaml.YAMLError:
        return "cannot be read"


def _values(values: dict[str, Any], prefix: str = "") -> list[str]:
    """`key value` for what a file sets, and the option that it begins with."""
    listed = []
    for key, value in values.items():
        if key == "defaults":
            listed += [f"as {each}" for each in value if isinstance(each, str) and each != "_self_"]
        elif isinstance(value, dict):
            listed += _values(value, f"{prefix}{key}.".removeprefix("hydra.sweeper.params."))
        elif len(values) == 1 or key not in ("arch", "name", "mode"):
            listed.append(f"{prefix}{key} {value}")
    return listed


def _root_settings(text: str) -> dict[str, str]:
    """`key=value` and the comment of every setting that is in no section."""
    found = re.findall(r"^(\w+): ([^#\s][^#\n]*?) *(?:# (.*))?$", text, re.M)
    return {f"{key}={value}": told for key, value, told in found}
