from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from networks import O0
from settings import pretraining

from beit_exp.data.build import Shard, TrainStream
from beit_exp.data.sources import training_images
from beit_exp.data.views import train_masks, train_views
from beit_exp.model.build import build_masked_model
from beit_exp.model.visual_tokenizer import build_tokenizer
from beit_exp.tasks.pretrain import masked_batch
from beit_exp.train.losses import MaskedPrediction


@pytest.mark.slow
def test_what_fills_up_changes_nothing(few_digits) -> None:
    cfg = pretraining(few_digits)
    stream = TrainStream(training_images(cfg), cfg, Shard(0, 1))
    tokenizer = build_tokenizer(cfg.tokenizer, has_decoder=True, seed=0)
    network = build_masked_model(cfg.model, cfg.mask, vocabulary=16, precision=O0, seed=0)
    views = next(train_views(stream, cfg, first=0, last=1))
    hidden = next(train_masks(stream, cfg, first=0, last=1))
    objective = MaskedPrediction(network)
    objective.set_train(False)
    assert hidden.sum() < len(hidden) * 7  # masks hide fewer here and there
    part = type(views)(views.images[:5], views.tokenizer_images[:5])
    full = masked_batch(tokenizer, part, hidden[:5], cfg, 16)
    exact = masked_batch(tokenizer, part, hidden[:5], cfg, 5)
    shapes = [array.shape for array in full]
    assert shapes == [(16, 3, 32, 32), (16, 16), (112,), (112,), (112,)]
    images, hidden_BP, places, tokens, weights = exact
    (logits,) = network(Tensor(images), Tensor(hidden_BP), Tensor(places))
    logits = logits.asnumpy()[weights == 1].astype(float)
    mine = tokenizer(Tensor(part.tokenizer_images)).asnumpy()[hidden[:5].reshape(5, -1)]
    np.testing.assert_array_equal(mine, tokens[weights == 1])
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss = -np.log(shares[np.arange(len(mine)), mine]).mean()
    accuracy = 100 * (logits.argmax(axis=1) == mine).mean()
    ms.set_context(mode=ms.GRAPH_MODE)
    for arrays in (full, exact):
        found = [float(value.asnumpy()) for value in objective(*map(Tensor, arrays), None)]
        assert found == pytest.approx([loss, accuracy], rel=1e-5)
