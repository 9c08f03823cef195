from __future__ import annotations

import pytest

from beit_exp.launch.comments import (
    option_command,
    option_line,
    option_values,
    read_entries,
)

TEXT = """\
# What the file is.
defaults:
  - model: small                          # not the section's
  - sweep: null                           # The values
                                          # of a grid.

# The network, on
# two lines.
# python launch.py model.depth=3
model:
  depth: ???                              # number of blocks, on
                                          # two lines
  mean: [0.5, 0.5]
  pooling: mean

seed: 42                                  # of draws: a # in it
"""


def test_a_section_is_explained_above_it_and_a_setting_behind_it() -> None:
    entries = read_entries(TEXT)
    assert entries["model"].meaning == "The network, on two lines."
    assert entries["model"].command == "python launch.py model.depth=3"
    assert entries["model.depth"].meaning == "number of blocks, on two lines"
    assert (entries["seed"].value, entries["seed"].meaning) == ("42", "of draws: a # in it")


def test_a_comment_belongs_to_one_line_alone() -> None:
    entries = read_entries(TEXT)
    assert entries["model.mean"].comments == entries["model.pooling"].comments == ()
    assert (entries["model.mean"].value, entries["model.pooling"].value) == ("[0.5, 0.5]", "mean")
    assert entries["defaults.sweep"].meaning == "The values of a grid."


OPTIONS = {  # text of a file -> what it says of itself, and what it sets
    "# @package _global_\n# python launch.py sweep=x\n# A grid.\n# More.\nseed: 1\n": (
        "A grid",
        [("seed", "1")],
    ),
    "# expected: top-1 85 - measured here: not yet\nname: x\nhflip: true\n": (
        "top-1 85",
        [("hflip", "true")],
    ),
    "defaults: [finetune, _self_]\ntrain:\n  freeze: null\n": (
        "as finetune, train.freeze null",
        [("as", "finetune"), ("train.freeze", "null")],
    ),
}


@pytest.mark.parametrize("text", OPTIONS)
def test_an_option_says_its_first_comment_or_what_it_sets(text: str) -> None:
    assert (option_line(text), option_values(text)) == OPTIONS[text]


@pytest.mark.parametrize("text", ["train: [1\n", "- train\n", "train\n"])
def test_a_file_without_settings_is_told_as_such(text: str) -> None:
    assert option_line(text) == "cannot be read"


def test_an_option_holds_the_command_that_chooses_it() -> None:
    assert option_command("# python launch.py sweep=x\nseed: 1\n") == "python launch.py sweep=x"
    assert option_command("# A grid.\n") is None
