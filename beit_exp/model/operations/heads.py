"""The heads of attention: the width of tokens split, and put together again."""

from __future__ import annotations

from typing import TypeAlias

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

# B batch · N tokens · D width · H heads · K width per head · R rows · C columns


class HeadsByRows(nn.Cell):
    """Heads on a CPU: rows of K numbers are gathered.

    The operator `Transpose` keeps 8 bytes an element for good there, 1.6 GB of a BEiT-base step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.permute = Permutation()

    def split(self, x_BND: Tensor, num_heads: int) -> Tensor:
        """-> (B, H, N, K)."""
        batch, tokens, width = x_BND.shape
        size = width // num_heads
        places = head_places(batch, tokens, num_heads)
        rows = self.permute(ops.reshape(x_BND, (-1, size)), *places)
        return ops.reshape(rows, (batch, num_heads, tokens, size))

    def merge(self, x_BHNK: Tensor) -> Tensor:
        """-> (B, N, D)."""
        batch, heads, tokens, size = x_BHNK.shape
        to_heads, from_heads = head_places(batch, tokens, heads)
        rows = self.permute(ops.reshape(x_BHNK, (-1, size)), from_heads, to_heads)
        return ops.reshape(rows, (batch, tokens, heads * size))


class HeadsByTranspose(nn.Cell):
    """Heads on other devices than a CPU, and where the batch size stays open."""

    def split(self, x_BND: Tensor, num_heads: int) -> Tensor:
        """-> (B, H, N, K)."""
        _, tokens, width = x_BND.shape
        x_BNHK = ops.reshape(x_BND, (-1, tokens, num_heads, width // num_heads))
        return ops.transpose(x_BNHK, (0, 2, 1, 3))

    def merge(self, x_BHNK: Tensor) -> Tensor:
        """-> (B, N, D)."""
        _, heads, tokens, size = x_BHNK.shape
        return ops.reshape(ops.transpose(x_BHNK, (0, 2, 1, 3)), (-1, tokens, heads * size))


Heads: TypeAlias = HeadsByRows | HeadsByTranspose


class Permutation(nn.Cell):
    """The rows of a matrix in another order; `back` is the order that undoes it."""

    def construct(self, x_RC: Tensor, order_R: Tensor, back_R: Tensor) -> Tensor:
        return ops.gather(x_RC, order_R, 0)

    def bprop(
        self, x_RC: Tensor, order_R: Tensor, back_R: Tensor, out: Tensor, grad_RC: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return ops.gather(grad_RC, back_R, 0), ops.zeros_like(order_R), ops.zeros_like(back_R)


@ms.constexpr
def head_places(batch: int, tokens: int, heads: int) -> tuple[Tensor, Tensor]:
    """Rows of K numbers: where (B, H, N) finds its own among (B, N, H), and the other way round."""
    rows = np.arange(batch * tokens * heads, dtype=np.int32)
    to_heads = rows.reshape(batch, tokens, heads).transpose(0, 2, 1).reshape(-1)
    from_heads = rows.reshape(batch, heads, tokens).transpose(0, 2, 1).reshape(-1)
    return Tensor(to_heads), Tensor(from_heads)
