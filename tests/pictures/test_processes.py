from __future__ import annotations

from settings import make_config

from pictures.palette import LIGHT
from pictures.processes import COMMAND, cards, draw, places


def test_the_ranks_places_fill_the_batch_without_overlap() -> None:
    cfg = make_config(*COMMAND)
    spans = [places(cfg, rank) for rank in range(cards(cfg))]
    taken = [place for first, last in spans for place in range(first, last + 1)]
    assert taken == list(range(cards(cfg) * cfg.train.batch_size))


def test_the_picture_shows_the_recipe_of_512_images_on_8_cards() -> None:
    svg = draw(LIGHT)
    assert "starts 8 ranks" in svg and "places 448 to 511" in svg and "of a batch of 512" in svg
