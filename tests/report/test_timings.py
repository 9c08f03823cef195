from __future__ import annotations

import json
import shlex
import sys

import pytest

from beit_exp.errors import UserError
from beit_exp.report.timings import Pair, compare_pairs, measure_other, quartiles, timing_table


def saying(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


def test_the_quartiles_of_a_speed_are_those_of_its_times_the_other_way_round() -> None:
    seconds = {"step": [1.0, 2.0, 4.0, 5.0, 10.0], "training_wait": [0.1, 0.2]}
    metrics = {"step_s": 4.0, "step_images_per_s": 16.0, "compile_s": 9.0}
    found = quartiles(metrics, seconds)
    assert found == {"step_s": (2.0, 5.0), "step_images_per_s": (64 / 5, 32.0)}
    lines = timing_table("a title", metrics, found).splitlines()
    assert [line.split("│")[2:4] for line in lines if "compile_s" in line or "step_s" in line] == [
        ["      4 ", " 2 to 5     "],
        ["      9 ", "            "],
    ]


def test_another_command_is_measured_by_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEIT_EXP_LAUNCHER", "1")
    monkeypatch.setenv("GLOG_v", "3")
    code = (
        "import os, json; print('words')\n"
        "assert not [name for name in os.environ if name.startswith(('BEIT_EXP', 'GLOG'))]\n"
        "print(json.dumps({'images_per_s': 12.5}))"
    )
    assert measure_other(saying(code)) == 12.5


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("/no/such/program", "/no/such/program: No such file"),
        (saying("raise SystemExit('it broke')"), "ended with exit status 1: it broke"),
        (saying("print(3)"), "its last line must be JSON with images_per_s"),
        (saying("print()"), "its last line must be JSON with images_per_s"),
        (saying("print('{\"images_per_s\": 0}')"), "images_per_s is 0"),
    ],
)
def test_another_command_that_tells_no_speed_is_an_error(command: str, message: str) -> None:
    with pytest.raises(UserError, match="benchmark.against = ") as error:
        measure_other(command)
    assert message in str(error.value)


def test_a_comparison_is_that_of_neighbours_not_of_two_medians() -> None:
    found = compare_pairs([Pair(10, 5), Pair(30, 20), Pair(8, 4)])
    assert json.loads(json.dumps(found)) == {
        "paired_images_per_s": 10,
        "against_images_per_s": 5,
        "against_ratio": 2,
        "against_ratio_least": 1.5,
        "against_ratio_largest": 2,
    }
