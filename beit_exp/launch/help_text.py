"""What `--help` and `--version` say."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import get_args

from beit_exp.config.command_line import launch_command, module_command
from beit_exp.config.task_name import TaskName
from beit_exp.launch.comments import Entry, option_line, read_entries
from beit_exp.launch.composition import CONF, CONFIG_NAME, HERE, Lookup, groups, options

WIDTH = 100
EXAMPLES = {
    "the quickstart, with one setting changed": ("optimizer.base_lr=1e-3",),
    "your own images, a folder for each class": (
        "experiment=own_images",
        "dataset.data_url=/data/images",
    ),
    "a recipe on your own ImageNet": (
        "experiment=imagenet_base",
        "dataset.data_url=/data/imagenet",
    ),
    "a sweep of two choices and two values": ("-m", "optimizer=adamw,momentum", "seed=1,2"),
}
SETTINGS_COMMAND = module_command("doctor", "--settings")
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
    entries = read_entries((CONF / f"{CONFIG_NAME}.yaml").read_text("utf-8"))
    lines = [f"usage: {launch_command()} [group=option] [setting=value] [flags]", ""]
    for meaning, words in EXAMPLES.items():
        lines += [f"  # {meaning}", f"  {launch_command(*words)}"]
    lines += ["", "task=", *_table({task: _task_line(task) for task in get_args(TaskName)})]
    for group in groups(lookup):
        entry = entries.get(f"defaults.{group}")
        default = entry.value if entry else "null"
        lines += ["", f"{group}=" + (f"   (unless said: {default})" if default != "null" else "")]
        lines += _table(
            {each: _option_line(lookup, group, each) for each in options(lookup, group)}
        )
    lines += ["", f"settings of the root (what every other means: {SETTINGS_COMMAND})"]
    lines += _table(_root_settings(entries))
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
    module = ast.parse((HERE / "tasks" / f"{task}.py").read_bytes())  # importing it takes seconds
    return (ast.get_docstring(module) or "").split("\n\n")[0].replace("\n", " ").rstrip(".")


def _option_line(lookup: Lookup, group: str, option: str) -> str:
    """What an option says of itself, wherever its file is."""
    for source in lookup.places.get_sources():
        path = Path(source.path) / group / f"{option}.yaml"
        if source.scheme() == "file" and path.is_file():
            return option_line(path.read_text("utf-8", errors="replace"))
    return ""


def _root_settings(entries: dict[str, Entry]) -> dict[str, str]:
    """`key=value` of every setting in no section, and its meaning without that of its values."""
    return {
        f"{key}={entry.value}": entry.meaning.partition("; ")[0]
        for key, entry in entries.items()
        if entry.value and "." not in key
    }
