"""Two dense layers with an exact GELU between: layer by layer, or by one compiled operator."""

from __future__ import annotations

from typing import Any, TypeAlias

from mindspore import Tensor, nn

from beit_exp.model.operations.gradients import Product
from beit_exp.model.operations.native import NativeMlp
from beit_exp.model.precision import cast

# R rows · I width in · H width between · O width out


class MlpByLayers(nn.Cell):
    """By MindSpore's operators; `kind` is that of the operands of products."""

    def __init__(self, product: Product, gelu: nn.Cell, *, kind: Any) -> None:
        super().__init__()
        self.product = product
        self.gelu = gelu
        self.kind = kind

    def construct(
        self,
        x_RI: Tensor,
        weight1_HI: Tensor,
        bias1_H: Tensor,
        weight2_OH: Tensor,
        bias2_O: Tensor,
    ) -> tuple[Tensor, None]:
        """-> (value, nothing); x is of `kind`."""
        hidden_RH = self.product(x_RI, cast(weight1_HI, self.kind), bias1_H)
        active_RH = cast(self.gelu(hidden_RH)[0], self.kind)
        return self.product(active_RH, cast(weight2_OH, self.kind), bias2_O), None


LayersBetween: TypeAlias = MlpByLayers | NativeMlp
