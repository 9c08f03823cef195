"""Small networks, and the kernels that they may compute by."""

from __future__ import annotations

import mindspore as ms
from settings import make_config

from beit_exp.model.beit import BEiT
from beit_exp.model.build import build_model
from beit_exp.model.operations import onednn_kernels
from beit_exp.model.operations.gradients import Product
from beit_exp.model.operations.mindspore_kernels import DenseByBiasAdd, Kernels
from beit_exp.model.operations.rows import ConstantOnes, RowsByProducts
from beit_exp.model.precision import Precision, build_precision

O0 = build_precision("O0", half=ms.float32)
KERNELS = ["mindspore", "float32", "rounded"] if onednn_kernels.is_available() else ["mindspore"]


def build(*overrides: str, precision: Precision = O0, seed: int = 0, num_classes: int = 10) -> BEiT:
    cfg = make_config(*overrides)
    return build_model(cfg.model, num_classes=num_classes, precision=precision, seed=seed)


def kernels_of(name: str) -> Kernels:
    return (
        Kernels()
        if name == "mindspore"
        else onednn_kernels.NativeKernels(rounds_products=name == "rounded")
    )


def product_of(name: str) -> Product | onednn_kernels.NativeDense:
    """x weightᵀ + bias, with its gradients."""
    if name == "mindspore":
        rows = RowsByProducts(ConstantOnes())
        return Product(DenseByBiasAdd(ms.float32), kernels=Kernels(), rows=rows)
    return onednn_kernels.NativeDense(rounds_products=name == "rounded")
