"""A graph without a result makes Python its last operator, at every step: the cells have one."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, ParameterTuple, Tensor

from beit_exp.optim.update import AdamUpdate
from beit_exp.train.step import ClearCell, UpdateCell


@pytest.fixture
def weight() -> Parameter:
    ms.set_context(mode=ms.GRAPH_MODE)
    return Parameter(Tensor(np.ones(3, np.float32)), name="weight")


def test_an_update_changes_the_weights_and_returns_the_rates(weight: Parameter) -> None:
    update = AdamUpdate([weight], beta=[0.9, 0.999])
    rates_31 = Tensor(np.array([[0.1], [1e-8], [0.0]], np.float32))
    cell = UpdateCell(ParameterTuple([weight]), update, ema_decay=0.5)
    found = cell(None, rates_31, Tensor(np.ones(3, np.float32)))
    np.testing.assert_array_equal(found.asnumpy(), rates_31.asnumpy())
    assert (weight.asnumpy() < 1).all()
    np.testing.assert_allclose(cell.averages[0].asnumpy(), 0.5 + 0.5 * weight.asnumpy(), rtol=1e-6)


def test_a_clearing_leaves_zeros_and_returns_one(weight: Parameter) -> None:
    found = ClearCell(ParameterTuple([weight]))()
    assert found.asnumpy() == 1
    assert not weight.asnumpy().any()
