"""The import contracts of pyproject.toml refuse what they say, in every module."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from settings import ROOT

PROJECT = (ROOT / "pyproject.toml").read_text()


def module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def with_import(text: str, library: str) -> str:
    """A module's text with `import library` after its docstring and its `__future__` import."""
    lines, head = text.splitlines(), 0
    for node in ast.parse(text).body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if not (is_docstring or is_future):
            break
        head = node.end_lineno or 0
    return "\n".join([*lines[:head], f"import {library}", *lines[head:]])


def allowed(library: str, modules: set[str]) -> set[str]:
    """The modules that a contract's `ignore_imports` lists for a library; `*` is one name."""
    listed = re.findall(rf'"(beit_exp[\w.*]*) -> {library}"', PROJECT)
    patterns = [re.escape(name).replace(r"\*", "[^.]+") for name in listed]
    return {name for name in modules if any(re.fullmatch(each, name) for each in patterns)}


@pytest.mark.parametrize("library", ["mlflow", "hydra", "omegaconf", "mindspore"])
def test_a_library_is_refused_in_every_module_that_is_not_listed(
    library: str, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    modules = set()
    for path in (ROOT / "beit_exp").rglob("*.py"):
        modules.add(module_name(path, ROOT))
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(with_import(path.read_text(), library))
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    refused = set(re.findall(rf"-\s+(beit_exp[\w.]*) -> {library} \(", done.stdout))
    listed = allowed(library, modules)
    assert listed and refused == modules - listed
    assert done.stdout.count(" BROKEN") == 1
