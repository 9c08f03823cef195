"""What to say about a wrong setting.

Its value, what is allowed, and the spelling that may have been meant.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from typing import Any

Schema = dict[str, Any]


ALIKE = 0.8  # share of letters in common from which a word is taken for a misspelling
ALIKE_IN_GROUP = 0.7  # enough where the group is right


def nearest(word: str, choices: list[str]) -> str:
    """` Did you mean x?` for a misspelt word, or nothing: a far-fetched hint misleads.

    Sought is its last part, first in its own group, where it may also be the first or the last of
    the words in a name (lr for base_lr), then in any. A name that several groups have is meant
    where the group is misspelt, too.
    """
    section, _, leaf = word.rpartition(".")
    known = list(dict.fromkeys(choices))
    siblings = [choice for choice in known if choice.rpartition(".")[0] == section]
    found = (
        _alike(leaf, siblings, ALIKE_IN_GROUP)
        or _ends_alike(leaf, siblings)
        or _alike(leaf, known, ALIKE)
        or [choice for choice in known if choice.endswith(f"_{leaf}")]
    )
    if len(found) > 1 and found[0] not in siblings and leaf == found[0].rpartition(".")[2]:
        found = difflib.get_close_matches(word, found, n=1, cutoff=ALIKE)
    return f" Did you mean {found[0]}?" if found else ""


def _alike(leaf: str, choices: list[str], share: float) -> list[str]:
    """All choices with the last part that is most like `leaf`."""
    leaves = [choice.rpartition(".")[2] for choice in choices]
    best = difflib.get_close_matches(leaf, leaves, n=1, cutoff=share)
    return [choice for choice, name in zip(choices, leaves, strict=True) if name in best]


def _ends_alike(leaf: str, choices: list[str]) -> list[str]:
    """The choices whose last part begins with the word `leaf`, or ends with one like it."""
    names = [(choice, choice.rpartition(".")[2].split("_")) for choice in choices]
    return [
        choice
        for choice, words in names
        if len(words) > 1
        and (words[0] == leaf or difflib.get_close_matches(leaf, words[-1:], n=1, cutoff=ALIKE))
    ]


def unknown_key(key: str, known: list[str]) -> str:
    """The complaint about a key that no setting has."""
    return f"{key}: there is no such setting." + nearest(key, known)


def wrong_value(key: str, value: Any, law: str) -> str:
    """The complaint about a value: `law` says in words what it must be."""
    return f"{key} = {_as_typed(value)}: {law}"


def _as_typed(value: Any) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else repr(value)


def kept_password(key: str, text: str) -> str:
    """The complaint about a password in a setting, and where to give it instead."""
    law = "must hold no password, for settings are kept and shown. "
    if key == "tracking.uri":
        law += (
            "Of a server, leave it out and set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD; of a database, write *** for it and set MLFLOW_TRACKING_URI "
            "to the whole address"
        )
    else:
        law += "Object stores take AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    return wrong_value(key, text, law)


def wrong_option(group: str, value: str, options: list[str]) -> str:
    """The complaint about a choice for a group of settings that no file makes."""
    listed = ", ".join(options)
    return wrong_value(group, value, f"must be one of {listed}.") + nearest(value, options)


def broken_rule(keys: Sequence[str], values: Sequence[Any], law: str) -> str:
    """The complaint about values that do not go together, at the first of their keys."""
    pairs = zip(keys[1:], values[1:], strict=True)
    others = [f"{key} = {_as_typed(value)}" for key, value in pairs]
    here = f" (here {', '.join(others)})" if others else ""
    return wrong_value(keys[0], values[0], f"{law}{here}")


def describe(key: str, value: Any, detail: Any, schema: Schema, known: list[str]) -> str:
    """The complaint about one error that pydantic found in the value of a key.

    `schema` is the settings' JSON schema, `known` every group's and every setting's name.
    """
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
        of_any_name = node.get("additionalProperties") or node
        node = node.get("properties", {}).get(part) or node.get("items", of_any_name)
    return _words(node)


def _words(node: Schema) -> str:
    if "$ref" in node:
        return "a group of settings"
    if "anyOf" in node:
        return " or ".join(_words(choice) for choice in node["anyOf"])
    if "enum" in node:
        return "one of " + ", ".join(node["enum"])
    if "const" in node:
        return str(node["const"])
    if node["type"] == "array":
        at_least = "" if node.get("maxItems") == node.get("minItems") else "at least "
        length = f" of {at_least}{node['minItems']}" if "minItems" in node else ""
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
