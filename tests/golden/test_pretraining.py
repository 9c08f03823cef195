"""Masked image modelling against the public originals (tests/golden/README.md)."""

from __future__ import annotations

import json

import mindspore as ms
import numpy as np
import pytest
from agreement import agree
from mindspore import ParameterTuple, Tensor, nn, ops
from settings import GOLDEN, make_config

from beit_exp.model.beit import MaskedBEiT
from beit_exp.model.precision import build_precision
from beit_exp.train.losses import soft_cross_entropy
from beit_exp.weights.load import load_trained
from beit_exp.weights.names import to_official

MIM = GOLDEN / "mim"
GOLDEN_CONFIG = json.loads((MIM / "config.json").read_text())
MODES = [pytest.param(ms.PYNATIVE_MODE, id="eager"), pytest.param(ms.GRAPH_MODE, id="compiled")]


class Gradients(nn.Cell):
    """Logits, loss and the gradient of every parameter."""

    def __init__(self, network: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.weights = ParameterTuple(list(network.trainable_params()))
        self.gradients = ops.value_and_grad(self.losses, None, self.weights, has_aux=True)

    def losses(self, images, hidden, places, targets):
        logits = self.network(images, hidden, places)
        return soft_cross_entropy(logits, targets), logits

    def construct(self, images, hidden, places, targets):
        return self.gradients(images, hidden, places, targets)


@pytest.mark.parametrize("mode", MODES)
def test_masked_logits_loss_and_every_gradient_are_the_official_ones(mode: int) -> None:
    ms.set_context(mode=mode)
    golden = GOLDEN_CONFIG["model"]
    reference = np.load(MIM / "reference.npz")
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
    network = MaskedBEiT(cfg.model, vocabulary=golden["vocab_size"], precision=precision)
    load_trained(network, str(MIM / "official.pth"))
    hidden = reference["mask"]
    targets = np.eye(golden["vocab_size"], dtype=np.float32)[reference["tokens"][hidden]]
    cell = Gradients(network)
    (loss, logits), gradients = cell(
        Tensor(reference["images"]),
        Tensor(hidden.astype(np.float32)),
        Tensor(np.flatnonzero(hidden).astype(np.int32)),
        Tensor(targets),
    )
    agree(
        "masked image modelling: logits", logits.asnumpy(), reference["logits_masked"], within=1e-4
    )
    agree("masked image modelling: loss", loss.asnumpy(), reference["loss"], within=1e-4)
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
        agree(
            "masked image modelling: gradients", found[name], gradient, within=1e-4, relative=True
        )
