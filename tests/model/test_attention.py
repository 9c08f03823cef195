from __future__ import annotations

from beit_exp.model.attention import relative_position_index


def test_relative_position_index_has_the_official_rows() -> None:
    index = relative_position_index(14)
    picked = [
        index[1, 1],
        index[1, 2],
        index[2, 1],
        index[1, 15],
        index[15, 1],
        index[1, 196],
        index[196, 1],
    ]
    assert picked == [364, 363, 365, 337, 391, 0, 728]
    assert (index[0, 1], index[1, 0], index[0, 0]) == (729, 730, 731)
    assert index.sum() == 14_270_119
