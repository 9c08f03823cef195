"""A small network against timm: logits, and the gradient of every parameter."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import ParameterTuple, Tensor, nn, ops

from beit_exp.config.schema import ModelConfig
from beit_exp.data.mixup import soft_targets
from beit_exp.model.beit import BEiT
from beit_exp.model.build import build_model
from beit_exp.model.precision import Precision
from beit_exp.self_check.line import Outcome
from beit_exp.train.losses import soft_cross_entropy
from beit_exp.weights.load import load_trained
from beit_exp.weights.names import to_official

HERE = Path(__file__).resolve().parent.parent
# In a wheel, in a clone
FOLDER = HERE / "golden"
if not FOLDER.is_dir():
    FOLDER = HERE.parent / "tests" / "golden" / "model" / "rel_pos"
SMOOTHING = 0.1  # of the loss whose gradients these are
# Largest difference of logits from timm's, and of gradients, as a share of a parameter's largest.
# Four times what O3 in float16 gives on a CPU, 7.0e-4 and 2.4e-3; bfloat16 rounds 8 times coarser.
ALLOWED = {"float32": (1e-4, 1e-4), "float16": (3e-3, 1e-2), "bfloat16": (2.4e-2, 8e-2)}


@dataclass(frozen=True)
class Reference:
    """A network of timm's as it answered: images in, logits and gradients out."""

    cfg: ModelConfig
    images: np.ndarray  # (B, 3, S, S)
    targets: np.ndarray  # (B, K)
    logits: np.ndarray  # (B, K)
    gradients: dict[str, np.ndarray]  # official name -> gradient

    def build(self, precision: Precision) -> BEiT:
        """The network, with timm's weights."""
        classes = self.logits.shape[1]
        network = build_model(self.cfg, num_classes=classes, precision=precision, seed=0)
        load_trained(network, str(FOLDER / "official.pth"))
        return network


def load_reference() -> Reference:
    golden: dict[str, Any] = json.loads((FOLDER / "config.json").read_text())
    cfg = ModelConfig(
        arch="golden",
        image_size=golden["img_size"],
        patch_size=golden["patch_size"],
        embed_dim=golden["embed_dim"],
        depth=golden["depth"],
        num_heads=golden["num_heads"],
        mlp_ratio=4.0,
        rel_pos_bias=golden["use_rel_pos_bias"],
        shared_rel_pos_bias=False,
        abs_pos_emb=golden["use_abs_pos_emb"],
        layer_scale_init_value=golden["init_values"],
        drop_path_rate=0.0,
        head_init_scale=1.0,
        pooling="mean",
        pretrained=None,
    )
    with np.load(FOLDER / "reference.npz") as arrays:
        labels, classes = arrays["labels"], golden["num_classes"]
        return Reference(
            cfg,
            images=arrays["images"],
            targets=soft_targets(labels, num_classes=classes, smoothing=SMOOTHING),
            logits=arrays["logits"],
            gradients={
                name.removeprefix("grad/"): arrays[name]
                for name in arrays.files
                if name.startswith("grad/")
            },
        )


class LossGradients(nn.Cell):
    """Targets and images -> (logits, the gradient of every weight)."""

    def __init__(self, network: BEiT) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.weights = ParameterTuple(list(network.trainable_params()))
        self.value_and_grad = ops.value_and_grad(self.loss, None, self.weights, has_aux=True)

    def loss(self, scale: Tensor, targets_BK: Tensor, images_BCSS: Tensor) -> tuple[Tensor, Tensor]:
        logits_BK = self.network(images_BCSS)
        return soft_cross_entropy(logits_BK, targets_BK) * scale, logits_BK

    def construct(
        self, scale: Tensor, targets_BK: Tensor, images_BCSS: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        (_, logits_BK), gradients = self.value_and_grad(scale, targets_BK, images_BCSS)
        return logits_BK, gradients


def check_golden(reference: Reference, precision: Precision, *, operands: str) -> Outcome:
    """Logits and gradients of a network whose products have such operands on this device."""
    scale = 1.0 if precision.is_float32 else 1024.0  # float16 loses gradients below 6e-8
    network = reference.build(precision)
    cell = LossGradients(network)
    tensors = Tensor(reference.targets), Tensor(reference.images)
    logits, gradients = cell(Tensor(np.float32(scale)), *tensors)
    arrays = {
        weight.name: gradient.asnumpy() / np.float32(scale)
        for weight, gradient in zip(cell.weights, gradients, strict=True)
    }
    by_logits = float(np.abs(logits.asnumpy() - reference.logits).max())
    shares = {
        name: float(np.abs(found - reference.gradients[name]).max())
        / float(np.abs(reference.gradients[name]).max())
        for name, found in to_official(arrays).items()
    }
    worst = max(shares, key=lambda name: (not np.isfinite(shares[name]), shares[name]))
    most_logits, most_gradients = ALLOWED[operands]
    passed = by_logits <= most_logits and shares[worst] <= most_gradients
    seen = (
        f"{operands}: logits differ by {by_logits:.1e} (at most {most_logits:.1e}), gradients by "
        f"{shares[worst]:.1e} of the largest ({most_gradients:.1e}; {worst})"
    )
    return Outcome(passed, seen)


def operands_of(precision: Precision, *, is_saturating: bool) -> str:
    """The element type that a product's operands are rounded to, whatever the tensors'.

    The matrix unit of a card that saturates knows no wider one than float16.
    """
    if precision.rounds_products:
        return "bfloat16"
    if precision.product == ms.bfloat16:
        return "bfloat16"
    return "float16" if precision.product == ms.float16 or is_saturating else "float32"
