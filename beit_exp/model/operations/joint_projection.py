"""q, k and v of attention by one product, for a card, where every operator is a launch."""

from __future__ import annotations

from mindspore import Tensor, nn, ops
from mindspore.ops.auto_generate import SplitWithSize

from beit_exp.model.operations.gradients import Product
from beit_exp.model.precision import cast

# B batch · N tokens · D width · H heads · K width per head · R rows


class JointProjection(nn.Cell):
    """Tokens and the parameters of three projections -> their heads; k has no bias.

    Of a block it takes 14 launches from 31. The gradient of the tokens is one product, too: its
    three parts are summed before they are rounded, and not after.
    """

    def __init__(self, product: Product) -> None:
        super().__init__()
        self.product = product
        self.join = JoinedRows()
        self.split = SplitWithSize()

    def construct(
        self,
        x_BND: Tensor,
        weights_DD: tuple[Tensor, Tensor, Tensor],
        biases_D: tuple[Tensor, Tensor],
        num_heads: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """-> q, k and v, each (B, H, N, K)."""
        _, tokens, width = x_BND.shape
        size = width // num_heads
        q_bias_D, v_bias_D = biases_D
        weight = cast(self.join(*weights_DD), x_BND.dtype)
        bias = self.join(q_bias_D, ops.zeros_like(q_bias_D), v_bias_D)
        out = self.product(ops.reshape(x_BND, (-1, width)), weight, bias)
        by_head = ops.transpose(ops.reshape(out, (-1, tokens, 3, num_heads, size)), (2, 0, 3, 1, 4))
        q, k, v = self.split(by_head, (1, 1, 1), 0)
        shape = (-1, num_heads, tokens, size)
        return ops.reshape(q, shape), ops.reshape(k, shape), ops.reshape(v, shape)


class JoinedRows(nn.Cell):
    """Three tensors of one shape, end to end; one operator splits the gradient, not three."""

    def __init__(self) -> None:
        super().__init__()
        self.split = SplitWithSize()

    def construct(self, first: Tensor, second: Tensor, third: Tensor) -> Tensor:
        return ops.concat((first, second, third))

    def bprop(
        self, first: Tensor, second: Tensor, third: Tensor, out: Tensor, grad: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows = first.shape[0]
        return self.split(grad, (rows, rows, rows), 0)
