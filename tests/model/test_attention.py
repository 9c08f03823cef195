from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from beit_exp.model.attention import Attention, relative_position_index
from beit_exp.model.operations.choice import Operations
from beit_exp.model.precision import build_precision


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


def test_a_bias_of_other_tokens_is_refused() -> None:
    attention = Attention(8, 2, Operations(build_precision("O0", half=ms.float32)))
    with pytest.raises(ValueError, match="tokens"):
        attention(Tensor(np.zeros((2, 6, 8), np.float32)), Tensor(np.zeros((2, 3, 3), np.float32)))
