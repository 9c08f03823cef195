from __future__ import annotations

import pytest

from pictures.diagram import Diagram, width_of
from pictures.palette import LIGHT


def test_words_that_do_not_fit_are_an_error() -> None:
    picture = Diagram(LIGHT, 300, 200, "a picture")
    picture.box(0, 0, 120, 60, ["short", "fits"])
    with pytest.raises(ValueError, match="a picture: 'far too long for this box' is"):
        picture.box(0, 0, 120, 60, ["far too long for this box"])
    with pytest.raises(ValueError, match="'one' and its lines are 71 high"):
        picture.box(0, 0, 120, 60, ["one", "two", "three", "four"])
    with pytest.raises(ValueError, match="at -"):
        picture.text(5, 20, "cut at the left")


def test_bold_words_are_wider_and_twice_the_size_is_twice_the_width() -> None:
    assert width_of("words", 15, bold=True) > width_of("words", 15)
    assert width_of("words", 30) == pytest.approx(2 * width_of("words", 15), rel=1e-3)


def test_an_arrow_ends_at_its_last_point() -> None:
    picture = Diagram(LIGHT, 100, 100, "a picture")
    picture.arrow((10, 10), (10, 50))
    assert 'points="10,50 ' in picture.parts[0] and "10,41" in picture.parts[0]
