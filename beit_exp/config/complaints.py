"""What to say about a wrong setting: its value, what is allowed, and the spelling that may have
been meant.
"""

from __future__ import annotations

import difflib
from typing import Any

Schema = dict[str, Any]


def nearest(word: str, choices: list[str]) -> str:
    """` Did you mean x?` for a misspelt word, or nothing: its name in any group, then its group,
    then all.
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


def describe(detail: Any, schema: Schema, known: list[str]) -> tuple[str, str]:
    """(full key, complaint without the key) of one error that pydantic found; `schema` is the
    settings' JSON schema.
    """
    key = ".".join(str(part) for part in detail["loc"])
    value = detail["input"]
    match detail["type"]:
        case "extra_forbidden":
            return key, unknown_key(key, known).removeprefix(key)
        case "missing":
            return key, "is not set: it must be " + allowed(key, schema)
        case "value_error":
            return key, f"= {value!r}: {detail['ctx']['error']}"
        case "literal_error":
            choices = [
                choice.strip("' ")
                for choice in detail["ctx"]["expected"].replace(" or ", ",").split(",")
            ]
            return key, f"= {value!r}: must be {allowed(key, schema)}." + nearest(
                str(value), choices
            )
    return key, f"= {value!r}: must be {allowed(key, schema)}"


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
