from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from beit_exp.errors import UserError
from beit_exp.launch.arguments import PATHS, PATHS_BELOW, hydra_arguments

ODD = (
    "a b=(数据)/x",
    "runs/sw/optimizer.layer_decay=0.85",
    "[x]",
    "{x: 1}",
    "a,b",
    "glob(x)",
    "it's",
    "back\\slash'",
    "7",
    "true",
    "数据",
    "#1",
    "a&b;c",
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/x y")


def read(word: str) -> object:
    """What Hydra finds in a word."""
    (override,) = OverridesParser.create().parse_overrides([word])
    assert not override.is_sweep_override()
    return override.value()


@pytest.mark.parametrize("path", ODD)
@pytest.mark.parametrize("key", [*PATHS, f"{PATHS_BELOW}v2"])
def test_a_path_is_taken_as_it_is(key: str, path: str) -> None:
    (word,) = hydra_arguments([f"{key}={path}"])
    assert read(word) == path


@pytest.mark.parametrize(
    "word",
    [
        "checkpoint=runs/a",
        "checkpoint=null",
        "checkpoint='a,b'",
        "checkpoint=${oc.env:HOME}/x",
        "checkpoint=a\\,b",
        "checkpoint=",
        "hydra.run.dir=runs/${now:%H}",
        "seed=[1]",
        "seed=数据",
    ],
)
def test_what_hydra_reads_rightly_is_left_alone(word: str) -> None:
    assert hydra_arguments([word]) == [word]


def test_a_tilde_is_the_home_folder() -> None:
    (word,) = hydra_arguments(["hydra.run.dir=~/runs"])
    assert read(word) == "/home/x y/runs"
    for key in ("dataset.labels", "evaluation.sets.v2", "+evaluation.sets.v2"):
        assert read(*hydra_arguments([f"{key}=~/a"])) == "/home/x y/a"
    assert read(*hydra_arguments(["checkpoint=~x/a"])) == "~x/a"


def test_a_comma_separates_paths_in_a_sweep_alone() -> None:
    assert hydra_arguments(["-m", "checkpoint=a,b"]) == ["checkpoint=a,b", "-m"]
    assert hydra_arguments(["-m", "hydra.sweep.dir=a,b"]) == ['hydra.sweep.dir="a,b"', "-m"]
    assert hydra_arguments(["sweep=base_lr", "images=a,b"])[1] == "images=a,b"
    assert hydra_arguments(["-m", "dataset.labels=a,b"]) == ["dataset.labels=a,b", "-m"]
    assert hydra_arguments(["sweep=null", "images=a,b"])[1] == 'images="a,b"'
    for name in ("数据", "c=1"):
        Path(name).mkdir()
    assert hydra_arguments(["-m", "images=数据,c=1"]) == ['images="数据","c=1"', "-m"]


def test_what_may_be_one_path_or_several_is_asked_with_both_to_paste() -> None:
    Path("a,b").mkdir()
    with pytest.raises(UserError) as caught:
        hydra_arguments(["-m", "images=a,b"])
    assert str(caught.value) == (
        "images=a,b: in a sweep a comma separates values, so quote what is meant:\n"
        """  one path:      'images="a,b"'\n"""
        "  several paths: images=a,b"
    )


def test_flags_may_stand_anywhere() -> None:
    assert hydra_arguments(["seed=1", "--cfg", "job", "model=x", "-p", "seed=1"]) == [
        "seed=1",
        "model=x",
        "--cfg",
        "job",
        "-p",
        "seed=1",
    ]
    assert hydra_arguments(["-sc", "query=bash"]) == ["-sc", "query=bash"]


@pytest.mark.parametrize(
    ("typed", "given"),
    [
        ("tracking.tags={site: lab}", "++tracking.tags={site: lab}"),
        ("tracking.tags.site=lab", "++tracking.tags.site=lab"),
        ("+tracking.tags.site=lab", "+tracking.tags.site=lab"),
        ("tokenizer.training.train.epochs=3", "++tokenizer.training.train.epochs=3"),
        ("evaluation.sets.v2=a,b", '++evaluation.sets.v2="a,b"'),
        ("evaluation.sets={v2: a}", "++evaluation.sets={v2: a}"),
        ("~tracking.tags.site", "~tracking.tags.site"),
        ("tracking.tag.site=lab", "tracking.tag.site=lab"),
    ],
)
def test_a_mapping_of_the_users_own_takes_any_key(typed: str, given: str) -> None:
    assert hydra_arguments([typed]) == [given]
