"""The network and whole training steps against the public originals (tests/golden/README.md)."""

from __future__ import annotations

import json

import mindspore as ms
import numpy as np
import pytest
from agreement import agree
from mindspore import ParameterTuple, Tensor, nn, ops
from settings import GOLDEN, make_config
from trajectory import (
    build_reference,
    schedule_of,
    train,
    trajectory_config,
    trajectory_reference,
)

from beit_exp.data.mixup import soft_targets
from beit_exp.model.beit import MaskedBEiT
from beit_exp.model.operations import onednn_kernels
from beit_exp.model.precision import build_precision
from beit_exp.train.losses import soft_cross_entropy
from beit_exp.weights.load import load_trained
from beit_exp.weights.names import to_official

VARIANTS = [
    "rel_pos",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("shared_rel_pos", "abs_pos", "cls_token")
    ),
]
KERNELS = (
    ["native", pytest.param("mindspore", marks=pytest.mark.slow)]
    if onednn_kernels.is_available()
    else ["mindspore"]
)
MODES = [  # runs are compiled; the same operators one by one
    pytest.param(ms.PYNATIVE_MODE, id="eager", marks=pytest.mark.slow),
    pytest.param(ms.GRAPH_MODE, id="compiled"),
]


class Gradients(nn.Cell):
    """Logits, loss and the gradient of every parameter."""

    def __init__(self, network: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.weights = ParameterTuple(list(network.trainable_params()))
        self.gradients = ops.value_and_grad(self.losses, None, self.weights, has_aux=True)

    def losses(self, targets, *inputs):
        logits = self.logits(*inputs)
        return soft_cross_entropy(logits, targets), logits

    def logits(self, *inputs):
        return self.network(*inputs)

    def construct(self, targets, *inputs):
        return self.gradients(targets, *inputs)


class MaskedGradients(Gradients):
    """The same of a network in pre-training, which may have more than one kind of logits."""

    def logits(self, *inputs):
        return self.network(*inputs)[0]


def compare(part: str, cell: Gradients, gradients: tuple[Tensor, ...], reference) -> None:
    """Assert that every gradient agrees with the reference's of the official name."""
    named = {
        weight.name: gradient.asnumpy()
        for weight, gradient in zip(cell.weights, gradients, strict=True)
    }
    found = to_official(named)
    expected = {
        name.removeprefix("grad/"): reference[name]
        for name in reference.files
        if name.startswith("grad/")
    }
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        agree(part, found[name], gradient, within=1e-4, relative=True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_loss_and_every_gradient_are_timms(
    variant: str, kernels: str, mode: int, monkeypatch
) -> None:
    monkeypatch.setattr(onednn_kernels, "is_available", lambda: kernels == "native")
    ms.set_context(mode=mode)
    folder = f"model/{variant}"
    golden = json.loads((GOLDEN / folder / "config.json").read_text())
    reference = np.load(GOLDEN / folder / "reference.npz")
    _, network = build_reference(folder, golden, "official.pth")
    targets = soft_targets(reference["labels"], num_classes=10, smoothing=0.1)
    cell = Gradients(network)
    (loss, logits), gradients = cell(Tensor(targets), Tensor(reference["images"]))
    agree("logits of four variants", logits.asnumpy(), reference["logits"], within=1e-4)
    agree("their loss", loss.asnumpy(), reference["loss_label_smoothing_0p1"], within=1e-5)
    compare("their gradients, of the largest", cell, gradients, reference)


@pytest.mark.parametrize("mode", MODES)
def test_masked_logits_loss_and_every_gradient_are_the_official_ones(mode: int) -> None:
    ms.set_context(mode=mode)
    folder = GOLDEN / "mim"
    golden = json.loads((folder / "config.json").read_text())["model"]
    reference = np.load(folder / "reference.npz")
    cfg = make_config(
        f"model.image_size={golden['img_size']}",
        f"model.patch_size={golden['patch_size']}",
        f"model.embed_dim={golden['embed_dim']}",
        f"model.depth={golden['depth']}",
        f"model.num_heads={golden['num_heads']}",
        "model.rel_pos_bias=false",
        "model.abs_pos_emb=false",
        "model.shared_rel_pos_bias=true",
        f"model.layer_scale_init_value={golden['init_values']}",
    )
    precision = build_precision("O0", half=ms.float32)
    vocabulary = golden["vocab_size"]
    network = MaskedBEiT(cfg.model, cfg.mask, vocabulary=vocabulary, precision=precision)
    load_trained(network, str(folder / "official.pth"))
    hidden = reference["mask"]
    targets = np.eye(vocabulary, dtype=np.float32)[reference["tokens"][hidden]]
    cell = MaskedGradients(network)
    (loss, logits), gradients = cell(
        Tensor(targets),
        Tensor(reference["images"]),
        Tensor(hidden.astype(np.float32)),
        Tensor(np.flatnonzero(hidden).astype(np.int32)),
    )
    agree(
        "masked image modelling: logits", logits.asnumpy(), reference["logits_masked"], within=1e-4
    )
    agree("masked image modelling: loss", loss.asnumpy(), reference["loss"], within=1e-4)
    compare("masked image modelling: gradients", cell, gradients, reference)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode",
    [pytest.param(ms.PYNATIVE_MODE, id="eager", marks=pytest.mark.long), MODES[1]],
)
def test_thirty_training_steps_are_those_of_torch(mode: int) -> None:
    ms.set_context(mode=mode)
    found, (golden, reference) = train(), trajectory_reference()
    schedule = schedule_of(trajectory_config(golden), golden)
    agree("learning rates of 30 steps", schedule, reference["lr"], within=1e-12)
    agree("losses of 30 training steps", found.losses, reference["losses"], within=1e-3)
    agree(
        "their gradient norms, of the largest",
        found.norms,
        reference["grad_norms"],
        within=1e-3,
        relative=True,
    )
    for name, array in found.final.items():
        agree("their final parameters", array, reference[f"final/{name}"], within=1e-3)
