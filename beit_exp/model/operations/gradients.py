"""Layers with gradients of their own, of fewer operators and kept tensors than automatic ones.

What a backward pass computes from the forward pass alone waits for the gradient (`ops.depend`): the
executor would do it at once and keep it, 0.35 GB of a BEiT-base step.
"""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, nn, ops

from beit_exp.model.operations.mindspore_kernels import Kernels
from beit_exp.model.operations.rows import Rows
from beit_exp.model.precision import cast

# R rows · I width in · O width out · B batch · N tokens · D width · H heads · K width per head

# Unilm/beit modeling_finetune.py; MindSpore's default is 1e-7, Hugging Face's 1e-12
LAYER_NORM_EPS = 1e-6


class ProductWithoutBias(nn.Cell):
    """x weightᵀ for (R, I) rows; `kernels` hold three products of matrices."""

    def __init__(self, kernels: Any) -> None:
        super().__init__()
        self.product = kernels.product
        self.product_with_transposed = kernels.product_with_transposed
        self.product_of_transposed = kernels.product_of_transposed

    def construct(self, x_RI: Tensor, weight_OI: Tensor) -> Tensor:
        return self.product_with_transposed(x_RI, weight_OI)

    def bprop(
        self, x_RI: Tensor, weight_OI: Tensor, out: Tensor, grad_RO: Tensor
    ) -> tuple[Tensor, Tensor]:
        return self.product(grad_RO, weight_OI), self.product_of_transposed(grad_RO, x_RI)


class Product(nn.Cell):
    """x weightᵀ + bias for (R, I) rows, by `dense`, which says the element type of the sum."""

    def __init__(self, dense: Any, *, kernels: Kernels, rows: Rows) -> None:
        super().__init__()
        self.dense = dense
        self.product = kernels.product
        self.product_of_transposed = kernels.product_of_transposed
        self.rows = rows

    def construct(self, x_RI: Tensor, weight_OI: Tensor, bias_O: Tensor) -> Tensor:
        return self.dense(x_RI, weight_OI, bias_O)

    def bprop(
        self, x_RI: Tensor, weight_OI: Tensor, bias_O: Tensor, out: Tensor, grad_RO: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        factor_RO = cast(grad_RO, x_RI.dtype)
        grad_weight_OI = self.product_of_transposed(factor_RO, x_RI)
        grad_bias_O = cast(self.rows.column_sums(grad_RO), bias_O.dtype)
        return self.product(factor_RO, weight_OI), grad_weight_OI, grad_bias_O


class Normalisation(nn.Cell):
    """Layer normalisation of (R, D) rows."""

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.normalise = ops.LayerNorm(
            begin_norm_axis=-1, begin_params_axis=-1, epsilon=LAYER_NORM_EPS
        )
        self.rows = rows

    def construct(
        self, x_RD: Tensor, weight_D: Tensor, bias_D: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """-> (normalised, mean, variance)."""
        return self.normalise(x_RD, weight_D, bias_D)

    def bprop(
        self,
        x_RD: Tensor,
        weight_D: Tensor,
        bias_D: Tensor,
        out: tuple[Tensor, Tensor, Tensor],
        grads: tuple[Tensor, Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows, columns = x_RD.shape
        grad_RD, mean_R1 = grads[0], out[1]
        weight_D = ops.depend(weight_D, grad_RD)
        scale_R1 = ops.rsqrt(ops.depend(out[2], grad_RD) + LAYER_NORM_EPS)
        scale_RD = self.rows.spread_column(scale_R1, columns)
        hat_RD = x_RD * scale_RD - self.rows.spread_column(mean_R1 * scale_R1, columns)
        weighted_RD = grad_RD * self.rows.spread_row(weight_D, rows)
        share_R1 = scale_R1 * (1.0 / columns)
        mean_RD = self.rows.spread_column(self.rows.row_sums(weighted_RD) * share_R1, columns)
        slope_RD = self.rows.spread_column(
            self.rows.row_sums(weighted_RD * hat_RD) * share_R1, columns
        )
        grad_x_RD = weighted_RD * scale_RD - mean_RD - hat_RD * slope_RD
        grad_weight_D = cast(self.rows.column_sums(grad_RD * hat_RD), weight_D.dtype)
        grad_bias_D = cast(self.rows.column_sums(grad_RD), bias_D.dtype)
        return grad_x_RD, grad_weight_D, grad_bias_D


class NormalisationByOperator(nn.Cell):
    """Layer normalisation on a card, with MindSpore's own gradient.

    Its third output is the variance on a CPU, and by its documentation 1 / √(variance + eps): here
    nobody needs to know.
    """

    def __init__(self) -> None:
        super().__init__()
        self.normalise = ops.LayerNorm(
            begin_norm_axis=-1, begin_params_axis=-1, epsilon=LAYER_NORM_EPS
        )

    def construct(
        self, x_RD: Tensor, weight_D: Tensor, bias_D: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """-> (normalised, mean, what the gradient needs)."""
        return self.normalise(x_RD, weight_D, bias_D)


class Softmax(nn.Cell):
    """softmax(scores + bias) of attention's scores, in their own element type.

    A row's Σ p · dp, which the gradient needs, is that of out · dout (Dao et al., arXiv 2205.14135,
    B.2): as many columns as a head is wide, not as there are tokens.
    """

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.softmax = ops.Softmax()
        self.rows = rows

    def construct(self, scores_BHNN: Tensor, bias_HNN: Tensor) -> Tensor:
        batch, heads, tokens, _ = scores_BHNN.shape
        bias_HNN = ops.depend(bias_HNN, scores_BHNN)
        bias = self.rows.spread_row(ops.reshape(bias_HNN, (-1,)), batch)
        return self.softmax(scores_BHNN + ops.reshape(bias, (-1, heads, tokens, tokens)))

    def gradient(
        self, weights_BHNN: Tensor, grad_weights_BHNN: Tensor, out_BHNK: Tensor, grad_BHNK: Tensor
    ) -> Tensor:
        """-> (B, H, N, N) of the scores; `out` are the sums of what is weighted."""
        batch, heads, tokens, width = out_BHNK.shape
        along_R1 = self.rows.row_sums(ops.reshape(grad_BHNK * out_BHNK, (-1, width)))
        along = self.rows.spread_column(along_R1, tokens)
        along = ops.reshape(along, (batch, heads, tokens, -1))
        return weights_BHNN * (grad_weights_BHNN - along)


class WeightedSum(nn.Cell):
    """softmax(q kᵀ + bias) v for each head, the softmax in its own element type."""

    def __init__(self, kernels: Kernels, softmax: Any, rows: Rows, *, statistics: Any) -> None:
        super().__init__()
        self.statistics = statistics
        self.product = kernels.batch_product
        self.product_with_transposed = kernels.batch_product_with_transposed
        self.product_of_transposed = kernels.batch_product_of_transposed
        self.softmax = softmax
        self.rows = rows

    def construct(
        self, q_BHNK: Tensor, k_BHNK: Tensor, v_BHNK: Tensor, bias_HNN: Tensor
    ) -> tuple[Tensor, Tensor]:
        """-> (B, H, N, K) sums and (B, H, N, N) weights."""
        scores_BHNN = cast(self.product_with_transposed(q_BHNK, k_BHNK), self.statistics)
        weights_BHNN = cast(self.softmax(scores_BHNN, bias_HNN), v_BHNK.dtype)
        return self.product(weights_BHNN, v_BHNK), weights_BHNN

    def bprop(
        self,
        q_BHNK: Tensor,
        k_BHNK: Tensor,
        v_BHNK: Tensor,
        bias_HNN: Tensor,
        out: tuple[Tensor, Tensor],
        grads: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        (out_BHNK, weights_BHNN), grad_BHNK = out, grads[0]
        batch, heads, tokens, _ = q_BHNK.shape
        grad_v_BHNK = self.product_of_transposed(weights_BHNN, grad_BHNK)
        grad_weights_BHNN = self.product_with_transposed(grad_BHNK, v_BHNK)
        # Differences of numbers that the loss scale has made large, and sums of them
        grad_scores_BHNN = self.softmax.gradient(
            cast(ops.depend(weights_BHNN, grad_BHNK), self.statistics),
            cast(grad_weights_BHNN, self.statistics),
            cast(ops.depend(out_BHNK, grad_BHNK), self.statistics),
            cast(grad_BHNK, self.statistics),
        )
        factor_BHNN = cast(grad_scores_BHNN, q_BHNK.dtype)
        grad_q_BHNK = self.product(factor_BHNN, k_BHNK)
        grad_k_BHNK = self.product_of_transposed(factor_BHNN, q_BHNK)
        images = ops.reshape(grad_scores_BHNN, (batch, heads * tokens * tokens))
        grad_bias_HNN = ops.reshape(self.rows.column_sums(images), (heads, tokens, tokens))
        return grad_q_BHNK, grad_k_BHNK, grad_v_BHNK, cast(grad_bias_HNN, bias_HNN.dtype)
