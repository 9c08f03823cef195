"""Pre-training with BEiT v2's class-token head against torch (tests/golden/README.md)."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from agreement import agree
from mindspore import ParameterTuple, Tensor, nn, ops
from settings import GOLDEN, make_config, part
from trajectory import FLOAT32

from beit_exp.config.schema import Config
from beit_exp.model.beit import MaskedBEiT
from beit_exp.model.build import build_masked_model
from beit_exp.optim.update import build_optimizer
from beit_exp.train.loss_scale import LossScale
from beit_exp.train.losses import MaskedPrediction
from beit_exp.train.step import Trainer
from beit_exp.weights.load import set_weights
from beit_exp.weights.names import to_official, to_ours

REFERENCE = dict(np.load(GOLDEN / "class_token.npz"))
STEPS, LR, WEIGHT_DECAY = 20, 1e-3, 0.05
KINDS = ("shared", "own")
ONE_FAST = [pytest.param(KINDS[0], marks=pytest.mark.slow), *KINDS[1:]]
MODES = [
    pytest.param(ms.PYNATIVE_MODE, id="eager", marks=pytest.mark.slow),
    pytest.param(ms.GRAPH_MODE, id="compiled"),
]


def settings(kind: str) -> Config:
    return make_config(
        "experiment=pretrain_digits",
        "model.image_size=16",
        "model.patch_size=4",
        "model.embed_dim=12",
        "model.depth=3",
        "model.num_heads=3",
        "model.abs_pos_emb=false",
        "mask.early_block=2",
        "mask.head_blocks=2",
        f"mask.shared_lm_head={kind == 'shared'}",
        "optimizer.beta=[0.9,0.999]",
        f"optimizer.weight_decay={WEIGHT_DECAY}",
        "optimizer.layer_decay=1.0",
    )


def build(kind: str) -> tuple[Config, MaskedBEiT]:
    cfg = settings(kind)
    network = build_masked_model(cfg.model, cfg.mask, vocabulary=10, precision=FLOAT32, seed=1)
    weights = to_ours(part(REFERENCE, "init"))
    if kind == "shared":
        weights = {name: array for name, array in weights.items() if not name.startswith(OWN)}
    outcome = set_weights(network, weights, path=GOLDEN / "class_token.npz")
    assert len(outcome.loaded) == len(weights)
    return cfg, network


OWN = ("cls_pt_norm.", "cls_pt_lm_head.")


def batch(step: int) -> list[np.ndarray]:
    hidden = REFERENCE["hidden"][step]
    places = np.flatnonzero(hidden).astype(np.int32)
    tokens = REFERENCE["tokens"][step][hidden]
    arrays = REFERENCE["images"], hidden.astype(np.float32), places, tokens
    return [*arrays, np.ones(len(places), np.float32)]


def filled(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Of the same shapes at every step: what fills up weighs nothing."""
    missing = REFERENCE["hidden"][0].size - len(arrays[2])
    return [*arrays[:2], *(np.pad(array, (0, missing)) for array in arrays[2:])]


class Gradients(nn.Cell):
    """The objective's loss, and its gradient by every parameter."""

    def __init__(self, objective: MaskedPrediction) -> None:
        super().__init__(auto_prefix=False)
        self.objective = objective
        self.weights = ParameterTuple(list(objective.trainable_params()))
        self.gradients = ops.value_and_grad(self.loss, None, self.weights)

    def loss(self, *inputs):
        return self.objective(*inputs)[0]

    def construct(self, *inputs):
        return self.gradients(*inputs)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ONE_FAST)
def test_both_logits_the_loss_and_every_gradient_are_torchs(kind: str, mode: int) -> None:
    ms.set_context(mode=mode)
    _, network = build(kind)
    inputs = [Tensor(array) for array in (*batch(0), REFERENCE["keep"])]
    logits, cls_logits = network(*inputs[:3], inputs[5])
    agree("class-token head: logits", logits.asnumpy(), REFERENCE[f"{kind}/logits"], within=1e-5)
    expected = REFERENCE[f"{kind}/cls_logits"]
    agree("class-token head: logits", cls_logits.asnumpy(), expected, within=1e-5)
    cell = Gradients(MaskedPrediction(network))
    loss, gradients = cell(*inputs)
    agree("class-token head: loss", loss.asnumpy(), REFERENCE[f"{kind}/loss"], within=1e-5)
    pairs = zip(cell.weights, gradients, strict=True)
    found = to_official({weight.name: gradient.asnumpy() for weight, gradient in pairs})
    wanted = part(REFERENCE, f"{kind}/grad")
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        agree("class-token head: gradients", found[name], gradient, within=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_twenty_steps_of_pretraining_with_it_are_those_of_torch(kind: str) -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    cfg, network = build(kind)
    trainer = Trainer(
        MaskedPrediction(network),
        build_optimizer(cfg.optimizer, network, depth=cfg.model.depth),
        cfg.train,
        schedule=np.full(STEPS, LR),
        weight_decays=np.full(STEPS, WEIGHT_DECAY),
        loss_scale=LossScale(1.0, False, 1000),
        clip_norm=None,
    )
    results = [trainer([(*filled(batch(step)), None)]) for step in range(STEPS)]
    losses = [result.loss for result in results]
    agree("class-token head: 20 losses", losses, REFERENCE[f"{kind}/losses"], within=1e-5)
    assert set(results[0].measures) == {"masked_accuracy", "cls_masked_accuracy"}
    if kind == "own":
        final = {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}
        found = to_official(final)
        for name, array in part(REFERENCE, "own/final").items():
            agree("class-token head: 20 steps, parameters", found[name], array, within=1e-5)
