"""The programs that the documents name, and what is wrong with a command of each."""

from __future__ import annotations

import ast
import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache

from documented_commands import Command, program_first, split
from documented_launches import PLACEHOLDER, wrong_launch
from documents import own_files
from settings import ROOT

Places = Mapping[str, str]  # by placeholder
Check = Callable[[Command, Places], Iterator[str]]
VALUED = {"-n", "-m", "-k", "-p", "-c", "--durations", "--durations-min", "--maxfail", "--dist"}


def wrong(command: Command, places: Places) -> Iterator[str]:
    """What is wrong with a command, if anything; one of no known program is."""
    program = command.words[0]
    check = PROGRAMS.get(program)
    if check is not None:
        yield from check(command, places)
    elif program not in own_files():
        yield f"{program}: a command of no known kind; tests/documented_programs.py names them"


def _python(command: Command, places: Places) -> Iterator[str]:
    arguments = list(command.words[1:])
    if arguments[:1] == ["-m"] and len(arguments) > 1:
        yield from _module(arguments[1], arguments[2:], command.folder, places)
    elif arguments[:1] == ["launch.py"]:
        yield from wrong_launch(arguments[1:], places)
    elif arguments and arguments[0].endswith(".py"):
        name = f"{command.folder}/{arguments[0]}" if command.folder else arguments[0]
        if name in own_files():
            yield from _options((name,), arguments[1:])
        elif arguments[0] != "other.py":  # the reader's own
            yield f"{name}: no such file"
    elif arguments[:1] != ["-c"] and arguments != ["--version"]:
        yield "neither a module nor a file"


def _module(name: str, arguments: list[str], folder: str, places: Places) -> Iterator[str]:
    if name in ("venv", "pip", "http.server"):
        return
    if name == "beit_exp":
        yield from wrong_launch(arguments, places)
        return
    path = f"{folder}/{name.replace('.', '/')}".strip("/")
    found = [each for each in (f"{path}.py", f"{path}/__main__.py") if each in own_files()]
    if not found:
        yield f"{name}: no such module"
    elif name == "beit_exp.worker" and len(arguments) != 1:
        yield "takes one run directory"
    elif name == "beit_exp.doctor":
        more = ("beit_exp/dry_run/run.py", "beit_exp/self_check/run.py")
        yield from _options((*found, *more), arguments)
        yield from wrong_launch([word for word in arguments if _is_setting(word)], places)
    else:
        yield from _options(tuple(found), arguments)


def _is_setting(word: str) -> bool:
    return "=" in word and not word.startswith("-")


def _options(files: tuple[str, ...], arguments: list[str]) -> Iterator[str]:
    """Options that a program of ours does not name; one that names none takes what it likes."""
    known = {option for file in files for option in _named_options(file)}
    typed = [word.partition("=")[0] for word in arguments if re.match(r"--?[a-zA-Z]", word)]
    yield from (f"no option {word}" for word in typed if known and word not in known)


@cache
def _named_options(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text())
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return frozenset(
        text for text in texts if isinstance(text, str) and re.fullmatch(r"--?[\w-]+", text)
    )


def _pytest(command: Command, places: Places) -> Iterator[str]:
    """Paths that hold tests, known markers, words that some test's name holds."""
    options, paths = pytest_words(command)
    files = sorted(name for name in own_files() if fnmatch.fnmatch(name, "tests/*test_*.py"))
    chosen = [name for name in files if not paths or any(_holds(path, name) for path in paths)]
    for path in paths:
        if not any(_holds(path, name) for name in files):
            yield f"{path}: no tests"
    for marker in re.findall(r"\w+", options.get("-m", "")):
        if marker not in {*markers(), "and", "or", "not"}:
            yield f"{marker}: no such marker"
    names = [f"{name} {' '.join(names_of_tests(name))}" for name in chosen]
    for part in re.findall(r"\w+", options.get("-k", "")):
        if part not in ("and", "or", "not") and not any(part in name for name in names):
            yield f"-k {part}: no such test"


def pytest_words(command: Command) -> tuple[dict[str, str], list[str]]:
    """The options with a value, and the paths."""
    options: dict[str, str] = {}
    paths, words = [], list(command.words[1:])
    while words:
        word = words.pop(0)
        key, equals, value = word.partition("=")
        if key in VALUED:
            options[key] = value if equals else words.pop(0) if words else ""
        elif not word.startswith("-"):
            paths.append(word if command.folder == "" else f"{command.folder}/{word}")
    return options, paths


def _holds(path: str, name: str) -> bool:
    place, _, test = path.partition("::")
    is_in = fnmatch.fnmatch(name, place) or name.startswith(place.rstrip("/") + "/")
    return is_in and (not test or test.partition("[")[0] in names_of_tests(name))


@cache
def names_of_tests(file: str) -> frozenset[str]:
    return frozenset(re.findall(r"^def (test_\w+)\(", (ROOT / file).read_text(), re.MULTILINE))


@cache
def markers() -> frozenset[str]:
    found = re.search(r"^markers = \[\n(.*?)^\]", _project(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return frozenset(re.findall(r'^\s*"(\w+):', found[1], re.MULTILINE))


@cache
def _project() -> str:
    return (ROOT / "pyproject.toml").read_text()


def _pip(command: Command, places: Places) -> Iterator[str]:
    """The extras that are named are ours, and files of constraints are there."""
    _, _, optional = _project().partition("[project.optional-dependencies]\n")
    known = set(re.findall(r"^(\w+) = \[", optional.partition("\n[")[0], re.MULTILINE))
    if command.words[1:2] not in (("install",), ("wheel",), ("list",), ("show",), ("download",)):
        yield "no command of pip's that is known here"
    for word in command.words[2:]:
        if own := re.fullmatch(r"(?:beit-exp|\.|\S*\.whl)\[([\w,]+)\].*", word):
            yield from (f"no extra {name}" for name in own[1].split(",") if name not in known)
    for option, value in zip(command.words, command.words[1:], strict=False):
        if option in ("-c", "-r") and value not in own_files():
            yield f"{value}: no such file"


def _mlflow(command: Command, places: Places) -> Iterator[str]:
    """Commands and options that MLflow has."""
    import click
    from mlflow.cli import cli

    found: click.Command | None = cli
    words = list(command.words[1:])
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        found = found.get_command(click.Context(found), name)
        if found is None:
            yield f"mlflow has no command {name}"
            return
    known = {option for part in found.params for option in part.opts} | {"--help"}
    typed = [word.partition("=")[0] for word in words if word.startswith("-")]
    yield from (f"mlflow has no option {word} there" for word in typed if word not in known)


def _around(command: Command, places: Places) -> Iterator[str]:
    """The command that a launcher such as srun starts, or that a shell is given as a text."""
    words = command.words[1:]
    for place, word in enumerate(words):
        if word in ("-c", "--wrap") and place + 1 < len(words):
            yield from _all(split(words[place + 1]), places)
            return
        if word.startswith("--wrap="):
            yield from _all(split(word.partition("=")[2]), places)
            return
        if word in STARTED and (inner := program_first(list(words[place:]))):
            yield from wrong(Command(tuple(inner), command.folder), places)
            return


def _all(commands: tuple[Command, ...], places: Places) -> Iterator[str]:
    for command in commands:
        yield from wrong(command, places)


def _docker(command: Command, places: Places) -> Iterator[str]:
    """A file to build from that is there; behind the image's name, the words of launch.py."""
    words = list(command.words[1:])
    if words[:1] == ["build"] and "-f" in words and words[words.index("-f") + 1] not in own_files():
        yield f"{words[words.index('-f') + 1]}: no such file"
    if words[:1] == ["run"] and "beit-exp" in words:
        yield from wrong_launch(words[words.index("beit-exp") + 1 :], places)


def _cd(command: Command, places: Places) -> Iterator[str]:
    """A folder of the repository, the reader's own by a placeholder, or the clone."""
    (folder, *_) = (*command.words[1:], "")
    is_ours = any(name.startswith(f"{folder}/") for name in own_files())
    is_clone = folder.lower() in ("beit-exp", "beit_exp_clone", "..")
    if not (is_ours or is_clone or re.fullmatch(PLACEHOLDER, folder)):
        yield f"{folder}: no such folder"


def _launch(command: Command, places: Places) -> Iterator[str]:
    yield from wrong_launch(command.words[1:], places)


def _file(command: Command, places: Places) -> Iterator[str]:
    """`-f FILE` and paths of the repository are there."""
    for word in command.words[1:]:
        if re.match(r"(?:tests|conf|beit_exp|\.ci|\.docker)/", word) and word not in own_files():
            yield f"{word}: no such file"


def _anything(command: Command, places: Places) -> Iterator[str]:
    """Programs of the system: bash has read the line, and that is all that is known."""
    yield from ()


SYSTEM = (
    *("apt-get", "npu-smi", "pre-commit", "sleep", "tail", "wait", "unzip", "df", "date", "kill"),
    *("curl", "printf", "echo", "base64", "tr", "tar", "cat", "ls", "mkdir", "cp", "mv", "export"),
    *(".", "source", "exit", "set", "scontrol", "squeue", "scancel", "sinfo", "git", "[", "eval"),
    "ulimit",
)
STARTED = ("python", "python3", "beit-exp", "pytest", "mlflow")
PROGRAMS: dict[str, Check] = {
    **dict.fromkeys(SYSTEM, _anything),
    **dict.fromkeys(("python", "python3"), _python),
    **dict.fromkeys(("srun", "sbatch", "salloc", "mpirun", "ssh", "nohup", "sh", "bash"), _around),
    **dict.fromkeys(("taskset", "env", "timeout", "torchrun", "nice", "sudo"), _around),
    **dict.fromkeys(("ruff", "mypy", "lint-imports", "kubectl", "actionlint"), _file),
    "beit-exp": _launch,
    "pytest": _pytest,
    "pip": _pip,
    "mlflow": _mlflow,
    "docker": _docker,
    "cd": _cd,
}
