"""Logits of many batches."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from beit_exp.inference.evaluate import predict_all


class Columns(nn.Cell):
    """The sum of each image's columns: logits that know left from right, and the batch's size."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: set[int] = set()

    def construct(self, images: Tensor) -> Tensor:
        self.sizes.add(len(images))
        return images.sum(axis=(1, 2))


def batches_of(images: np.ndarray, size: int):
    for begin in range(0, len(images), size):
        yield images[begin : begin + size], np.zeros(len(images[begin : begin + size]), np.int32)


@pytest.mark.parametrize("size", [3, 7, 8])
def test_logits_of_batches_stand_in_the_order_of_the_images(size: int) -> None:
    ms.set_context(mode=ms.PYNATIVE_MODE)
    images = np.random.default_rng(0).integers(0, 9, (7, 3, 4, 4)).astype(np.float32)
    network = Columns()
    found = predict_all(network, batches_of(images, size), batch_size=size)
    np.testing.assert_array_equal(found, images.sum(axis=(1, 2)))
    assert network.sizes == {size}  # the last batch is filled up
    flipped = predict_all(network, batches_of(images, size), batch_size=size, flip=True)
    np.testing.assert_array_equal(flipped, (found + found[:, ::-1]) / 2)
