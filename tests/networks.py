"""Small networks, and the kernels that they may compute by."""

from __future__ import annotations

import mindspore as ms
from settings import make_config

from beit_exp.model.beit import BEiT
from beit_exp.model.build import build_model
from beit_exp.model.operations import native, onednn_kernels
from beit_exp.model.operations.gradients import Product
from beit_exp.model.operations.mindspore_kernels import DenseByBiasAdd, Kernels
from beit_exp.model.operations.mlp import MlpByLayers
from beit_exp.model.operations.rows import ConstantOnes, RowsByProducts
from beit_exp.model.precision import Precision, build_precision

O0 = build_precision("O0", half=ms.float32)
KERNELS = ["mindspore", "float32", "rounded"] if onednn_kernels.is_available() else ["mindspore"]


def build(*overrides: str, precision: Precision = O0, seed: int = 0, num_classes: int = 10) -> BEiT:
    cfg = make_config(*overrides)
    return build_model(cfg.model, num_classes=num_classes, precision=precision, seed=seed)


def products_of(name: str) -> Kernels | native.NativeProducts:
    """Of matrices."""
    if name == "mindspore":
        return Kernels()
    return native.NativeProducts(rounds_products=name == "rounded")


def product_of(name: str) -> Product | native.NativeDense:
    """x weightᵀ + bias, with its gradients."""
    if name == "mindspore":
        rows = RowsByProducts(ConstantOnes())
        return Product(DenseByBiasAdd(ms.float32), kernels=Kernels(), rows=rows)
    return native.NativeDense(rounds_products=name == "rounded")


def mlp_of(name: str) -> MlpByLayers | native.NativeMlp:
    """Two dense layers with a GELU between."""
    product = product_of(name)
    if isinstance(product, Product):
        return MlpByLayers(product, Kernels().gelu, kind=ms.float32)
    return native.NativeMlp(rounds_products=name == "rounded")
