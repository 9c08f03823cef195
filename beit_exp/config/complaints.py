"""What to say about a wrong setting.

Its value, what is allowed, and the spelling that may have been meant.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

Schema = dict[str, Any]


def nearest(word: str, choices: list[str]) -> str:
    """` Did you mean x?` for a misspelt word, or nothing.

    Sought are first its last part in any group, then its own group, then whole names.
    """
    section, _, leaf = word.rpartition(".")
    by_leaf = {choice.rsplit(".", 1)[-1]: choice for choice in choices}
    siblings = {
        choice.rsplit(".", 1)[-1]: choice
        for choice in choices
        if section and choice.startswith(f"{section}.")
    }
    close = (
        [by_leaf[name] for name in difflib.get_close_matches(leaf, list(by_leaf), n=1, cutoff=0.75)]
        or [
            siblings[name]
            for name in difflib.get_close_matches(leaf, list(siblings), n=1, cutoff=0.35)
        ]
        or difflib.get_close_matches(word, choices, n=1, cutoff=0.45)
    )
    return f" Did you mean {close[0]}?" if close else ""


def unknown_key(key: str, known: list[str]) -> str:
    """The complaint about a key that no setting has."""
    return f"{key}: there is no such setting." + nearest(key, known)


def wrong_value(key: str, value: Any, law: str) -> str:
    """The complaint about a value: `law` says in words what it must be."""
    return f"{key} = {value!r}: {law}"


def wrong_option(group: str, value: str, options: list[str]) -> str:
    """The complaint about a choice for a group of settings that no file makes."""
    listed = ", ".join(options)
    return wrong_value(group, value, f"must be one of {listed}.") + nearest(value, options)


def broken_rule(keys: Sequence[str], values: Sequence[Any], law: str) -> str:
    """The complaint about values that do not go together, at the first of their keys."""
    others = [f"{key} = {value!r}" for key, value in zip(keys[1:], values[1:], strict=True)]
    here = f" (here {', '.join(others)})" if others else ""
    return wrong_value(keys[0], values[0], f"{law}{here}")


def describe(key: str, detail: Any, schema: Schema, known: list[str]) -> str:
    """The complaint about one error that pydantic found at a key.

    `schema` is the settings' JSON schema, `known` every group's and every setting's name.
    """
    value = detail["input"]
    match detail["type"]:
        case "extra_forbidden":
            return unknown_key(key, known)
        case "missing":
            return f"{key} is not set: it must be {allowed(key, schema)}"
        case "value_error":
            return wrong_value(key, value, str(detail["ctx"]["error"]))
        case "literal_error":
            choices = [
                choice.strip("' ")
                for choice in detail["ctx"]["expected"].replace(" or ", ",").split(",")
            ]
            hint = nearest(str(value), choices)
            return wrong_value(key, value, f"must be {allowed(key, schema)}.{hint}")
    return wrong_value(key, value, f"must be {allowed(key, schema)}")


def allowed(key: str, schema: Schema) -> str:
    """What a setting may be, in words, read off its type."""
    node = schema
    for part in key.split("."):
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        node = node.get("properties", {}).get(part) or node.get("items", node)
    return _words(node)


def _words(node: Schema) -> str:
    if "$ref" in node:
        return "a group of settings"
    if "anyOf" in node:
        return " or ".join(_words(choice) for choice in node["anyOf"])
    if "enum" in node:
        return "one of " + ", ".join(node["enum"])
    if node["type"] == "array":
        length = f" of {node['minItems']}" if "minItems" in node else ""
        return f"a list{length}, each {_words(node['items'])}"
    names = {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "string": "text",
    }
    names |= {"object": "a mapping", "null": "null"}
    bounds = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    limits = [f"{sign} {node[bound]:g}" for bound, sign in bounds.items() if bound in node]
    return " ".join([names[node["type"]], *([" and ".join(limits)] if limits else [])])
