"""The texts of the errors that a user can mend, as they stand in the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from settings import ROOT

PACKAGE = ROOT / "beit_exp"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Message:
    """What one line of code may say."""

    place: str  # module:line
    source: str  # of the arguments
    texts: tuple[str, ...]  # every literal part, of what a name or a helper stands for, too

    @property
    def module(self) -> str:
        return self.place.partition(":")[0]

    def says(self, quote: str) -> bool:
        return any(quote in text for text in self.texts)


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package, by its path from there."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return {str(path.relative_to(PACKAGE)): ast.parse(path.read_text()) for path in paths}


@cache
def errors() -> dict[str, ast.ClassDef | None]:
    """The classes of what a user can mend, by their names; `UserError` is an exception's own."""
    classes = [
        node
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]
    found: dict[str, ast.ClassDef | None] = {"UserError": None}
    while new := {
        each.name: each
        for each in classes
        if each.name not in found and any(ast.unparse(base) in found for base in each.bases)
    }:
        found |= new
    return found


def takes_text(name: str) -> bool:
    """Whether an error is made of what it says, not of values that it puts into words itself."""
    if name not in errors():
        return False
    body = [] if (found := errors()[name]) is None else found.body
    return not any(isinstance(each, Function) and each.name == "__init__" for each in body)


@cache
def functions() -> dict[str, list[Function]]:
    """Every function of the package by its name: several may share it."""
    found: dict[str, list[Function]] = {}
    for tree in modules().values():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                found.setdefault(node.name, []).append(node)
    return found


@cache
def user_errors() -> list[Message]:
    """Every place that makes an error for the user."""
    return [
        message
        for path, tree in modules().items()
        for scope in (tree, *(each for each in ast.walk(tree) if isinstance(each, Function)))
        for message in _messages(path, tree, scope)
    ]


@cache
def all_texts() -> tuple[str, ...]:
    """Every literal text in the code but the docstrings: complaints and the log, too."""
    nodes = [node for tree in modules().values() for node in ast.walk(tree)]
    docstrings = {node.value for node in nodes if isinstance(node, ast.Expr)}
    return tuple(
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings
    )


def literals(node: ast.AST) -> Iterator[str]:
    """The literal texts in a piece of code; parts of an f-string each by itself."""
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


def _messages(path: str, tree: ast.Module, scope: ast.Module | Function) -> Iterator[Message]:
    """The errors that are made in the body of a scope, but not in a function within it."""
    for node in _own(scope):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = ast.unparse(node.func)
        if takes_text(name.split(".")[-1]) or (
            name == "super().__init__" and _is_error(tree, node)
        ):
            told = [text for argument in node.args for text in _resolved(argument, tree, scope)]
            source = ", ".join(map(ast.unparse, node.args))
            yield Message(f"{path}:{node.lineno}", source, tuple(told))


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, Function):
            yield child
            yield from _own(child)


def _is_error(tree: ast.Module, call: ast.Call) -> bool:
    """Whether a call lies in a class of errors of ours."""
    classes = [each for each in ast.walk(tree) if isinstance(each, ast.ClassDef)]
    around = [each for each in classes if call in ast.walk(each)]
    return any(each.name in errors() for each in around)


def _resolved(node: ast.AST, tree: ast.Module, scope: ast.Module | Function) -> Iterator[str]:
    """The literal texts in a message, with those of names assigned nearby and of helpers."""
    yield from literals(node)
    names, known = _names(node), set[str]()
    while new := names - known:
        known |= new
        for each in (*_own(scope), *_own(tree)):
            if isinstance(each, ast.Assign) and _names(*each.targets) & new:
                yield from literals(each.value)
                names |= _names(each.value)
    calls = {ast.unparse(each.func) for each in ast.walk(node) if isinstance(each, ast.Call)}
    for name in calls:
        for function in functions().get(name, []):
            yield from _said(function)


def _names(*nodes: ast.AST) -> set[str]:
    walked = (each for node in nodes for each in ast.walk(node))
    return {each.id for each in walked if isinstance(each, ast.Name)}


def _said(function: Function) -> Iterator[str]:
    """The literal texts of a function but its docstring."""
    is_documented = ast.get_docstring(function) is not None
    for statement in function.body[is_documented:]:
        yield from literals(statement)
