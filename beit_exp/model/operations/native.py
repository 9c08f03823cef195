"""Layers made of the compiled operators for a CPU, with their gradients."""

from __future__ import annotations

from typing import Any

from mindspore import Tensor, nn, ops

from beit_exp.model.operations.onednn_kernels import kind_of_products, operator

# R rows · I width in · O width out · H width between · D width · B batch · N tokens · H heads
Shape = list[int]


def same(first: Shape, *_: Shape) -> Shape:
    return first


def of_product(left: Shape, right: Shape) -> Shape:
    return [*left[:-1], right[-1]]


def of_product_with_transposed(left: Shape, right: Shape, *_: Shape) -> Shape:
    return [*left[:-1], right[-2]]


def of_product_of_transposed(left: Shape, right: Shape) -> Shape:
    return [*left[:-2], left[-1], right[-1]]


def of_norm(rows: Shape, weight: Shape, _: Shape) -> tuple[Shape, Shape, Shape]:
    return rows, rows[:1], rows[:1]


def of_norm_gradient(rows: Shape, weight: Shape, *_: Shape) -> tuple[Shape, Shape, Shape]:
    return rows, weight, weight


def of_dense_gradient(x: Shape, weight: Shape, _: Shape) -> tuple[Shape, Shape, Shape]:
    return x, weight, weight[:1]


def of_mlp(x: Shape, weight1: Shape, bias1: Shape, weight2: Shape, bias2: Shape) -> Shape:
    return of_product_with_transposed(x, weight2)


def of_mlp_for_gradient(
    x: Shape, weight1: Shape, bias1: Shape, weight2: Shape, bias2: Shape
) -> tuple[Shape, Shape]:
    return of_product_with_transposed(x, weight2), of_product_with_transposed(x, weight1)


def of_mlp_gradient(
    x: Shape, weight1: Shape, weight2: Shape, *_: Shape
) -> tuple[Shape, Shape, Shape, Shape, Shape]:
    return x, weight1, weight1[:1], weight2, weight2[:1]


def of_projections(x: Shape, weight: Shape, *_: Shape) -> tuple[Shape, Shape, Shape]:
    shape = of_product_with_transposed(x, weight)
    return shape, shape, shape


def of_projections_gradient(x: Shape, weight: Shape, *_: Shape) -> tuple[Shape, ...]:
    bias = weight[:1]
    return x, weight, bias, weight, weight, bias


def of_addition_gradient(branch: Shape, scale: Shape, *_: Shape) -> tuple[Shape, Shape]:
    return branch, scale


def of_attention_gradient(
    q: Shape, k: Shape, v: Shape, bias: Shape, _: Shape
) -> tuple[Shape, Shape, Shape, Shape]:
    return q, k, v, bias


class NativeNormalisation(nn.Cell):
    """Layer normalisation of (R, D) rows."""

    def __init__(self) -> None:
        super().__init__()
        self.value = operator("layer_norm", of_norm, outputs=3)
        self.gradient = operator("layer_norm_gradient", of_norm_gradient, outputs=3)

    def construct(
        self, x_RD: Tensor, weight_D: Tensor, bias_D: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """-> (normalised, mean, variance)."""
        return self.value(x_RD, weight_D, bias_D)

    def bprop(
        self,
        x_RD: Tensor,
        weight_D: Tensor,
        bias_D: Tensor,
        out: tuple[Tensor, Tensor, Tensor],
        grads: tuple[Tensor, Tensor, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self.gradient(x_RD, weight_D, out[1], out[2], grads[0])


class NativeAttention(nn.Cell):
    """softmax(q kᵀ / √K + bias) v of each head; no scores are kept for the gradient."""

    def __init__(self, *, rounds_products: bool) -> None:
        super().__init__()
        kind = kind_of_products(rounds=rounds_products)
        self.value = operator(f"attention_{kind}", same)
        self.gradient = operator(f"attention_gradient_{kind}", of_attention_gradient, outputs=4)

    def construct(self, q_RD: Tensor, k_RD: Tensor, v_RD: Tensor, bias_HNN: Tensor) -> Tensor:
        """-> (R, D), the heads side by side in each row."""
        return self.value(q_RD, k_RD, v_RD, bias_HNN)

    def bprop(
        self,
        q_RD: Tensor,
        k_RD: Tensor,
        v_RD: Tensor,
        bias_HNN: Tensor,
        out: Tensor,
        grad_RD: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.gradient(q_RD, k_RD, v_RD, bias_HNN, grad_RD)


class NativeDense(nn.Cell):
    """x weightᵀ + bias for (R, I) rows."""

    def __init__(self, *, rounds_products: bool) -> None:
        super().__init__()
        kind = kind_of_products(rounds=rounds_products)
        self.value = operator(f"dense_{kind}", of_product_with_transposed)
        self.gradient = operator(f"dense_gradient_{kind}", of_dense_gradient, outputs=3)

    def construct(self, x_RI: Tensor, weight_OI: Tensor, bias_O: Tensor) -> Tensor:
        return self.value(x_RI, weight_OI, bias_O)

    def bprop(
        self, x_RI: Tensor, weight_OI: Tensor, bias_O: Tensor, out: Tensor, grad_RO: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self.gradient(x_RI, weight_OI, grad_RO)


class NativeMlp(nn.Cell):
    """Two dense layers with an exact GELU between, for (R, I) rows; H is the width between."""

    def __init__(self, *, rounds_products: bool) -> None:
        super().__init__()
        kind = kind_of_products(rounds=rounds_products)
        self.value = operator(f"mlp_{kind}", of_mlp)
        self.value_for_gradient = operator(
            f"mlp_for_gradient_{kind}", of_mlp_for_gradient, outputs=2
        )
        self.gradient = operator(f"mlp_gradient_{kind}", of_mlp_gradient, outputs=5)

    def construct(
        self,
        x_RI: Tensor,
        weight1_HI: Tensor,
        bias1_H: Tensor,
        weight2_OH: Tensor,
        bias2_O: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """-> (value, what the gradient needs)."""
        if self.training:
            return self.value_for_gradient(x_RI, weight1_HI, bias1_H, weight2_OH, bias2_O)
        # Not the value twice, of which the gradient would come with either
        return self.value(x_RI, weight1_HI, bias1_H, weight2_OH, bias2_O), bias1_H

    def bprop(
        self,
        x_RI: Tensor,
        weight1_HI: Tensor,
        bias1_H: Tensor,
        weight2_OH: Tensor,
        bias2_O: Tensor,
        out: tuple[Tensor, Tensor],
        grads: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, ...]:
        hidden = out[1]
        if not self.training:
            hidden = self.value_for_gradient(x_RI, weight1_HI, bias1_H, weight2_OH, bias2_O)[1]
        return self.gradient(x_RI, weight1_HI, weight2_OH, hidden, grads[0])


class NativeProjections(nn.Cell):
    """q, k and v of attention, which share the rounding of what they are made of."""

    def __init__(self, *, rounds_products: bool) -> None:
        super().__init__()
        kind = kind_of_products(rounds=rounds_products)
        self.value = operator(f"projections_{kind}", of_projections, outputs=3)
        self.gradient = operator(f"projections_gradient_{kind}", of_projections_gradient, outputs=6)

    def construct(
        self,
        x_RD: Tensor,
        q_weight_DD: Tensor,
        q_bias_D: Tensor,
        k_weight_DD: Tensor,
        v_weight_DD: Tensor,
        v_bias_D: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """-> q, k and v, each (R, D)."""
        return self.value(x_RD, q_weight_DD, q_bias_D, k_weight_DD, v_weight_DD, v_bias_D)

    def bprop(
        self,
        x_RD: Tensor,
        q_weight_DD: Tensor,
        q_bias_D: Tensor,
        k_weight_DD: Tensor,
        v_weight_DD: Tensor,
        v_bias_D: Tensor,
        out: tuple[Tensor, Tensor, Tensor],
        grads: tuple[Tensor, Tensor, Tensor],
    ) -> tuple[Tensor, ...]:
        return self.gradient(x_RD, q_weight_DD, k_weight_DD, v_weight_DD, *grads)


class NativeScaledAddition(nn.Cell):
    """x + keep · scale · branch for (R, D) rows of B images, each with a factor of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.value = operator("scaled_addition", same)
        self.gradient = operator("scaled_addition_gradient", of_addition_gradient, outputs=2)

    def construct(self, x_RD: Tensor, branch_RD: Tensor, scale_D: Tensor, keep_B: Tensor) -> Tensor:
        return self.value(x_RD, branch_RD, scale_D, keep_B)

    def bprop(
        self,
        x_RD: Tensor,
        branch_RD: Tensor,
        scale_D: Tensor,
        keep_B: Tensor,
        out: Tensor,
        grad_RD: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        grad_branch_RD, grad_scale_D = self.gradient(branch_RD, scale_D, keep_B, grad_RD)
        return grad_RD, grad_branch_RD, grad_scale_D, ops.zeros_like(keep_B)


class NativeProducts:
    """Of matrices; `rounds_products`: operands to bfloat16, where it is faster."""

    def __init__(self, *, rounds_products: bool) -> None:
        kind = kind_of_products(rounds=rounds_products)
        self.product: Any = operator(f"product_{kind}", of_product)
        self.product_with_transposed: Any = operator(
            f"product_with_transposed_{kind}", of_product_with_transposed
        )
        self.product_of_transposed: Any = operator(
            f"product_of_transposed_{kind}", of_product_of_transposed
        )
