from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from pictures.draw import FOLDER, PICTURES, main
from pictures.palette import DARK, LIGHT, PALETTES
from pictures.runs import Runs

DIAGRAMS = ("architecture", "batch", "processes", "layer_decay")  # they show no run
LARGEST = 200_000


def words(svg: str) -> list[str]:
    """What is written in a drawing."""
    texts = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(text.itertext()) for text in texts]


@pytest.fixture(scope="module", params=DIAGRAMS)
def drawn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The name of a diagram, and its variants."""
    runs = Runs(tmp_path_factory.mktemp("runs"))
    return [request.param, *(str(PICTURES[request.param](palette, runs)) for palette in PALETTES)]


def test_a_kept_diagram_says_what_the_code_says_now(drawn: list[str]) -> None:
    name, *variants = drawn
    for palette, svg in zip(PALETTES, variants, strict=True):
        assert words((FOLDER / f"{name}_{palette.name}.svg").read_text()) == words(svg)


def test_variants_differ_in_their_colours_alone(drawn: list[str]) -> None:
    _, light, dark = drawn
    assert light != dark
    # matplotlib names markers and clips by a digest of their looks
    without = [re.sub(r"#[0-9a-f]{6}\b|[mp][0-9a-f]{10}", "#", svg) for svg in (light, dark)]
    assert without[0] == without[1]


def test_every_picture_is_kept_in_both_variants_and_refers_to_nothing_outside() -> None:
    for name in PICTURES:
        for palette in (LIGHT, DARK):
            (path,) = FOLDER.glob(f"{name}_{palette.name}.*")
            assert path.stat().st_size < LARGEST
            if path.suffix == ".svg":
                links = re.findall(r"(?:href|src)=\"([^\"]*)\"|url\(([^)]*)\)", path.read_text())
                assert [link for pair in links for link in pair if link and link[0] != "#"] == []
                assert "@import" not in path.read_text() and "@font-face" not in path.read_text()


def test_an_unknown_picture_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["nothing"])
    assert "no such picture: nothing" in capsys.readouterr().err
