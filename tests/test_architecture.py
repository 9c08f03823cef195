from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from settings import ROOT

from beit_exp.config.schema import Config, Section

PACKAGE = ROOT / "beit_exp"
TESTS = ROOT / "tests"
FILES = [*sorted(PACKAGE.rglob("*.py")), *sorted(TESTS.rglob("*.py")), ROOT / "launch.py"]
SECTIONS = {cls.__name__: cls for cls in (Config, *Section.__subclasses__())}


def settings_read() -> set[str]:
    """`Section.field` for every setting that some code outside schema.py reads."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path.name == "schema.py":
            continue
        tree = ast.parse(path.read_text())
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.ClassDef):
                found |= set(reads_in(function))
    return found


@cache
def fields_of_classes() -> dict[str, dict[str, str]]:
    """Class -> annotated field -> the class of that, for those that hold settings."""
    found: dict[str, dict[str, str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and node.name not in SECTIONS:
                fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
                typed = {ast.unparse(part.target): ast.unparse(part.annotation) for part in fields}
                found[node.name] = {name: kind for name, kind in typed.items() if kind in SECTIONS}
    return {name: fields for name, fields in found.items() if fields}


def reads_in(scope: ast.FunctionDef | ast.ClassDef) -> Iterator[str]:
    """Follow `cfg.train.epochs` from what is annotated with a section, or with what holds one."""
    holders = fields_of_classes()
    types: dict[str, str] = dict(holders.get(scope.name, {}))

    def type_of(node: ast.expr) -> str | None:
        if isinstance(node, ast.Name):
            return types.get(node.id)
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                return types.get(node.attr)
            owner = type_of(node.value)
            if owner in holders:
                return holders[owner].get(node.attr)
            if owner is not None and node.attr in SECTIONS[owner].model_fields:
                kind = SECTIONS[owner].model_fields[node.attr].annotation
                return kind.__name__ if getattr(kind, "__name__", "") in SECTIONS else None
        return None

    for node in ast.walk(scope):
        if isinstance(node, ast.arg) and isinstance(node.annotation, ast.Name):
            kind = node.annotation.id
            types |= {node.arg: kind} if kind in SECTIONS or kind in holders else {}
    for node in ast.walk(scope):  # `cfg = session.cfg`, alone or beside others
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            is_several = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            pairs = zip(target.elts, value.elts, strict=True) if is_several else [(target, value)]
            for name, held in pairs:
                if isinstance(name, ast.Name) and (kind := type_of(held)) is not None:
                    types[name.id] = kind
    for node in ast.walk(scope):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            owner = type_of(node.value)
            if owner in SECTIONS:
                yield f"{owner}.{node.attr}"


def test_every_setting_is_read() -> None:
    declared = {
        f"{name}.{field}"
        for name, section in SECTIONS.items()
        for field, info in section.model_fields.items()
        if getattr(info.annotation, "__name__", "") not in SECTIONS
    }
    assert declared - settings_read() == set()


def test_reads_are_not_found_where_there_are_none() -> None:
    assert "TrainConfig.no_such_setting" not in settings_read()


def test_launching_imports_neither_mindspore_nor_mlflow() -> None:
    heavy = "('mindspore', 'mlflow', 'matplotlib')"
    code = f"import sys, beit_exp.command; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_package_markers_are_empty() -> None:
    assert [path for path in PACKAGE.rglob("__init__.py") if path.read_text()] == []


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE if PACKAGE in path.parents else ROOT))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_file_holds_more_than_one_concern_can_fill(path: Path) -> None:
    assert path.stem not in {"utils", "common", "helpers", "misc", "base"}
    assert len(path.read_text().splitlines()) <= 300


def test_a_function_fits_on_a_screen() -> None:
    lengths = [
        (f"{name_of(path)}: {node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [(name, length) for name, length in lengths if length > 60] == []


def test_a_line_holds_at_most_a_hundred_characters() -> None:
    assert [
        f"{name_of(path)}:{number}"
        for path in FILES
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if len(line) > 100
    ] == []


def test_the_root_holds_what_is_typed_and_what_everybody_needs() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 7


def test_every_module_of_tests_mirrors_one_of_the_package() -> None:
    """But for whole runs, golden values and the laws of the clone, which belong to no module."""
    own = {path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py")}
    folders = {path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")} - {Path()}
    strangers = [
        path.relative_to(TESTS)
        for path in TESTS.rglob("test_*.py")
        if path.parent.relative_to(TESTS) in folders
        and path.parent.relative_to(TESTS) / module_of(path) not in own
    ]
    assert strangers == []


def module_of(path: Path) -> str:
    """`test_step.py` tests `step`, and `test_main.py` what `python -m` runs."""
    name = path.stem.removeprefix("test_")
    return "__main__" if name == "main" else name


def test_every_package_is_declared_for_a_wheel() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    listed = text[text.index("packages = [") : text.index("package-dir")]
    declared = set(re.findall(r'"(beit_exp[.\w]*)"', listed))
    own = {".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")}
    assert declared == own | {"beit_exp.conf", "beit_exp.golden"}
