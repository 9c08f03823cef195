from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from settings import pretraining

from beit_exp.data.build import Shard, TrainStream
from beit_exp.data.sources import training_images
from beit_exp.data.views import train_views
from beit_exp.launch.tokenizer_first import tokenizer_run
from beit_exp.model.visual_tokenizer import build_tokenizer
from beit_exp.tasks.train_tokenizer import anneal, usage
from beit_exp.train.build import build_trainer
from beit_exp.train.losses import Autoencoding


@pytest.mark.slow
@pytest.mark.parametrize("straight_through", [True, False])
def test_a_tokenizer_learns_encoder_and_decoder(
    few_digits: Path, straight_through: bool, compiled: None
) -> None:
    cfg = tokenizer_run(
        pretraining(few_digits, f"tokenizer.straight_through={straight_through}"), few_digits
    )
    stream = TrainStream(training_images(cfg), cfg, Shard(0, 1))
    tokenizer = build_tokenizer(cfg.tokenizer, has_decoder=True, seed=0)
    objective = Autoencoding(tokenizer, straight_through=straight_through, kl_weight=0.01)
    trainer = build_trainer(cfg, objective, steps_per_epoch=stream.steps_per_epoch, ranks=1)
    before = {
        parameter.name: parameter.asnumpy().copy() for parameter in tokenizer.get_parameters()
    }
    images = next(train_views(stream, cfg, first=0, last=1)).tokenizer_images
    images = images[:4, :, :16, :16]
    noise = np.random.default_rng(0).gumbel(size=(4, 16, 2, 2)).astype(np.float32)
    losses = [trainer([(images, noise, np.float32(1.0))]).loss for _ in range(20)]
    assert losses[-1] < losses[1] - 0.1
    unchanged = [
        name
        for name, value in before.items()
        if (tokenizer.parameters_dict()[name].asnumpy() == value).all()
    ]
    assert unchanged == []


def test_temperature_falls_between_its_ends_and_usage_counts_tokens() -> None:
    temperatures = anneal(1.0, 0.0625, steps=100)
    assert temperatures[0] == 1.0 and temperatures[-1] == pytest.approx(0.0625)
    assert (np.diff(temperatures) <= 0).all()
    assert usage(np.array([5.0, 5.0, 5.0, 5.0])) == {
        "token_usage": 100.0,
        "token_perplexity": pytest.approx(4.0),
    }
    assert usage(np.array([8.0, 0.0, 0.0, 0.0])) == {
        "token_usage": 25.0,
        "token_perplexity": pytest.approx(1.0),
    }
