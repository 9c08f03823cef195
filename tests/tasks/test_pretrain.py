from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from settings import TINY, make_config

from beit_exp.config.schema import Config
from beit_exp.data.build import Shard, TrainStream
from beit_exp.data.sources import training_images
from beit_exp.data.views import train_masks, train_views
from beit_exp.model.build import build_masked_model
from beit_exp.model.precision import build_precision
from beit_exp.model.visual_tokenizer import (
    VisualTokenizer,
    build_tokenizer,
)
from beit_exp.tasks.pretrain import masked_batch
from beit_exp.train.losses import MaskedPrediction

SMALL_TOKENIZER = ("tokenizer.vocabulary=16", "tokenizer.hidden=8", "tokenizer.decoder_input=8")


@pytest.fixture(autouse=True)
def _compiled() -> None:
    ms.set_context(mode=ms.GRAPH_MODE)


def pretraining(data, *more: str) -> Config:
    return make_config(
        "experiment=pretrain_digits",
        *TINY,
        *SMALL_TOKENIZER,
        "model.patch_size=8",
        "mask.num_mask_patches=7",
        "mask.min_mask_patches_per_block=2",
        f"dataset.data_url={data}",
        *more,
    )


def stream_of(cfg: Config, rank: int = 0, size: int = 1) -> TrainStream:
    return TrainStream(training_images(cfg), cfg, Shard(rank, size))


def masked_setup(few_digits, *more: str):
    cfg = pretraining(few_digits, *more)
    stream = stream_of(cfg)
    tokenizer: VisualTokenizer = build_tokenizer(cfg.tokenizer, has_decoder=True, seed=0)
    precision = build_precision("O0", half=ms.float32)
    network = build_masked_model(cfg.model, vocabulary=16, precision=precision, seed=0)
    views = next(train_views(stream, cfg, first=0, last=1))
    hidden = next(train_masks(stream, cfg, first=0, last=1))
    return cfg, tokenizer, network, views, hidden


def test_what_fills_up_changes_nothing(few_digits) -> None:
    cfg, tokenizer, network, views, hidden = masked_setup(few_digits)
    objective = MaskedPrediction(network)
    objective.set_train(False)
    assert hidden.sum() < len(hidden) * 7  # masks hide fewer here and there
    part = type(views)(views.images[:5], views.tokenizer_images[:5])
    full = masked_batch(tokenizer, part, hidden[:5], cfg, 16)
    exact = masked_batch(tokenizer, part, hidden[:5], cfg, 5)
    shapes = [array.shape for array in full]
    assert shapes == [(16, 3, 32, 32), (16, 16), (112,), (112,), (112,)]
    found, expected = (
        [float(value.asnumpy()) for value in objective(*map(Tensor, arrays), None)]
        for arrays in (full, exact)
    )
    assert found == pytest.approx(expected, rel=1e-5)
    images, hidden_BP, places, tokens, weights = exact
    logits = (
        network(Tensor(images), Tensor(hidden_BP), Tensor(places))
        .asnumpy()[weights == 1]
        .astype(float)
    )
    mine = tokenizer(Tensor(part.tokenizer_images)).asnumpy()[hidden[:5].reshape(5, -1)]
    np.testing.assert_array_equal(mine, tokens[weights == 1])
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert expected[0] == pytest.approx(
        -np.log(shares[np.arange(len(mine)), mine]).mean(), rel=1e-5
    )
    assert expected[1] == pytest.approx(100 * (logits.argmax(axis=1) == mine).mean(), rel=1e-5)
