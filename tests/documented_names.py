"""What the documents name in code: settings and their values, files, modules, tests, variables."""

from __future__ import annotations

import fnmatch
import itertools
import posixpath
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from document_form import folders_of
from documented_launches import PLACEHOLDER
from documented_programs import names_of_tests
from documents import Page, own_files
from pydantic import ValidationError
from settings import ROOT, compose

from beit_exp.config.schema import Config, Section, setting_names
from beit_exp.launch.arguments import MAPPINGS, parse_override
from beit_exp.launch.combinations import swept_words

KEY = r"[a-z_]+(?:\.[\w.]+|/[a-z_]+)?"
ASSIGNMENT = re.compile(rf"\+{{0,2}}({KEY})=(.*)", re.DOTALL)
DATA = "tar|csv|json|jsonl|pkl|pth|pt|ckpt|md|html|txt|log|png|jpg|npy|npz|safetensors|onnx|mindir"
SETTING = re.compile(rf"([a-z_]+)\.(?!(?:{DATA}|py|yaml|toml|tar\.gz)$)[a-z_]\w*(?:\.\w+)*")
TOP = r"(?:beit_exp|conf|tests|\.ci|\.docker|\.pictures)/"
FILE = re.compile(rf"{TOP}\S*|[\w./<>*{{}},-]+\.(?:py|c|h|md)(?:::\w+)?")
OF_OTHERS = re.compile(  # files of the public originals, and of the reader
    r"(?:beit2?|vqkd_teacher|timm|dall_e|beit/semantic_segmentation)/\S*|\S*modeling_\w+\.py"
    rf"|norm_ema_quantizer\.py|masking_generator\.py|optim_factory\.py|other\.py|{PLACEHOLDER}/\S*"
)
UNTOLD = re.compile(rf"|.*\.\.\..*|.*[{{<$].*|auto|{PLACEHOLDER}(?:\.\w+)?")  # no value to check


def wrong_names(page: Page) -> Iterator[str]:
    """`page:line: what` for each name in code of something that is not there."""
    for code in page.code:
        for complaint in wrong_in(code.text, page.folder):
            yield f"{page.name}:{code.line}: {complaint}"


def wrong_in(code: str, folder: str = "") -> Iterator[str]:
    """What is wrong with the names in a piece of code, on a page of that folder."""
    words = code.split()
    if code == "key=value":  # of overrides in general
        return
    if words and all(ASSIGNMENT.fullmatch(word) for word in words):
        for word in words:
            yield from wrong_setting(word, folder)
    if len(words) != 1:
        return
    if re.fullmatch(r"beit_exp(?:\.\w+)+", code):
        yield from wrong_module(code)
    elif re.fullmatch(r"BEIT_EXP_[A-Z_]+", code) and code not in _sources():
        yield f"{code}: no code reads such a variable"
    elif re.fullmatch(r"[A-Z]\w*Config\.\w+", code):
        yield from wrong_field(code)
    elif re.fullmatch(r"test_\w+", code) and code not in _every_test():
        yield f"{code}: no such test"
    elif FILE.fullmatch(code) and not OF_OTHERS.fullmatch(code):
        yield from wrong_file(code, folder)
    elif (found := SETTING.fullmatch(code)) and found[1] in groups():
        yield from wrong_key(code)


def wrong_setting(word: str, folder: str = "") -> Iterator[str]:
    """What is wrong with `key=value` or `group=option`, if anything.

    A key without its group is one of the group that the page is about, or else of any.
    """
    found = ASSIGNMENT.fullmatch(word)
    assert found is not None, word
    key, text = found.groups()
    own = f"{folder.removeprefix('conf/')}.{key}"
    if folder.startswith("conf/") and own in setting_names():
        yield from wrong_setting(f"{own}={text}")
        return
    within = [f"{group}.{key}" for group in sorted(groups()) if f"{group}.{key}" in setting_names()]
    if within and key not in {*setting_names(), *options()}:
        told = [list(wrong_setting(f"{each}={text}")) for each in within]
        yield from () if [] in told else told[0]
        return
    if key in options():
        parts = [text] if "{" in text else text.split(",")
        chosen = [each for part in parts for each in braces(part)]
        chosen = [part for part in chosen if not re.fullmatch(r"null|glob\(.*\)", part)]
        chosen = [part for part in chosen if not UNTOLD.fullmatch(part)]
        yield from (f"{key}={part}: no such option" for part in chosen if part not in options(key))
        return
    complaints = list(wrong_key(key))
    if complaints or key.startswith(("hydra", *MAPPINGS)) or UNTOLD.fullmatch(text):
        yield from complaints
        return
    override = parse_override(f"{key}={text}")
    if override is None:
        return  # a path with strange characters
    for each in swept_words(override) if override.is_sweep_override() else [word]:
        yield from wrong_value(key, each)


def wrong_value(key: str, word: str) -> Iterator[str]:
    """The complaint about a value by itself, whatever goes with it."""
    override = parse_override(word.lstrip("+"))
    assert override is not None, word
    place = key.split(".")
    values = compose()
    section: dict[str, Any] = values
    for part in place[:-1]:
        section = section[part]
    section[place[-1]] = override.value()
    try:
        Config.model_validate(values)
    except ValidationError as error:
        for found in error.errors():
            if [str(part) for part in found["loc"][: len(place)]] == place:
                yield f"{word}: {found['msg']}"
                return


def wrong_key(key: str) -> Iterator[str]:
    """A key that is no setting, no group of them, and no module of a package of that name."""
    known = {*setting_names(), *groups()}
    is_own = key.startswith(("hydra.", "hydra/", *(f"{name}." for name in MAPPINGS)))
    is_module = f"beit_exp/{key.replace('.', '/')}.py" in own_files()
    is_section = any(name.startswith(f"{key}.") for name in known)
    if not (key in known or is_own or is_module or is_section):
        yield f"{key}: no such setting"


@cache
def groups() -> frozenset[str]:
    """The sections of the settings."""
    return frozenset(name.partition(".")[0] for name in setting_names() if "." in name)


@cache
def options(group: str = "") -> frozenset[str]:
    """The options of a group; without one, the groups that have some."""
    if not group:
        choices = {name.split("/")[1] for name in own_files() if re.fullmatch(_OPTION, name)}
        return frozenset({*choices, "hydra/launcher", "hydra/sweeper"})
    if group.startswith("hydra/"):
        return frozenset({"joblib", "submitit_slurm", "submitit_local", "basic", "optuna"})
    return frozenset(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))


_OPTION = r"conf/[a-z_]+/\w+\.yaml"


def wrong_field(code: str) -> Iterator[str]:
    name, _, field = code.partition(".")
    sections = {cls.__name__: cls for cls in Section.__subclasses__()}
    if name not in sections or field not in sections[name].model_fields:
        yield f"{code}: no such field of the schema"


def wrong_module(name: str) -> Iterator[str]:
    """A module that is not there, or one without what is named of it; names in texts may stand."""
    parts = name.split(".")
    for length in range(len(parts), 1, -1):
        path = "/".join(parts[:length])
        for file in (f"{path}.py", f"{path}/__init__.py"):
            if file not in own_files():
                continue
            rest = parts[length:]
            text = (ROOT / file).read_text()
            if not rest or re.search(rf"^(?:def |class )?{rest[0]}\b", text, re.MULTILINE):
                return
    if f'"{name}"' not in _sources():
        yield f"{name}: no such module"


def wrong_file(name: str, folder: str) -> Iterator[str]:
    """A file or folder that stands neither at the root, nor beside the page, nor further below."""
    name, _, test = name.partition("::")
    pattern = re.sub(rf"<[^>]*>|{PLACEHOLDER}", "*", name.rstrip("/"))
    places = {*own_files(), *folders_of(own_files())}
    beside = posixpath.normpath(posixpath.join(folder, pattern))
    found = {
        place
        for each in braces(pattern)
        for place in places
        if fnmatch.fnmatch(place, each) or fnmatch.fnmatch(place, f"*/{each}")
    }
    found |= {place for place in places if fnmatch.fnmatch(place, beside)}
    if not found or (re.match(TOP, name) and not any(_is_at(pattern, each) for each in found)):
        yield f"{name}: no such file"
    elif test and not any(test in names_of_tests(file) for file in found):
        yield f"{name}::{test}: no such test"


def _is_at(pattern: str, place: str) -> bool:
    return any(fnmatch.fnmatch(place, each) for each in braces(pattern))


def braces(text: str) -> list[str]:
    """`a_{b,c}` as bash expands it."""
    parts = re.split(r"\{([^{}]*)\}", text)
    choices = [part.split(",") if place % 2 else [part] for place, part in enumerate(parts)]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


@cache
def _sources() -> str:
    return "\n".join(path.read_text() for path in sorted((ROOT / "beit_exp").rglob("*.py")))


@cache
def _every_test() -> frozenset[str]:
    files = [name for name in own_files() if fnmatch.fnmatch(name, "tests/*test_*.py")]
    names = {name for file in files for name in names_of_tests(file)}
    return frozenset({*names, *(posixpath.basename(file).removesuffix(".py") for file in files)})
