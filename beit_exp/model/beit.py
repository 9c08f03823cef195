"""BEiT, the network: patches and a class token through transformer blocks, pooled and classified.

Sources: Bao et al., BEiT (arXiv 2106.08254); unilm/beit modeling_finetune.py.
"""

from __future__ import annotations

from typing import Any

import mindspore as ms
from mindspore import Tensor, nn, ops

from beit_exp.model.attention import Attention, RelativePositionBias
from beit_exp.model.gradients import Ones, ScaledAddition
from beit_exp.model.layers import Dense, LayerNorm, Mlp, PatchEmbed, make_parameter
from beit_exp.model.precision import Precision, cast

# B batch · N tokens, the class token first · D width · H heads · L blocks · S image side · K classes


class Block(nn.Cell):
    """x + γ₁ attention(norm(x)), then x + γ₂ mlp(norm(x)); each branch dropped per image in training."""

    def __init__(
        self,
        width: int,
        *,
        num_heads: int,
        mlp_ratio: float,
        layer_scale_init_value: float | None,
        rel_pos_grid: int | None,
        precision: Precision,
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm(width, precision=precision)
        self.attn = Attention(width, num_heads, precision=precision)
        self.rel_pos = None if rel_pos_grid is None else RelativePositionBias(rel_pos_grid, num_heads)
        self.norm2 = LayerNorm(width, precision=precision)
        self.mlp = Mlp(width, int(width * mlp_ratio), precision=precision)
        scale = layer_scale_init_value
        self.gamma_1 = None if scale is None else make_parameter(width, fill=scale)
        self.gamma_2 = None if scale is None else make_parameter(width, fill=scale)
        self.add = ScaledAddition()
        self.product = ops.MatMul()
        self.ones = Ones()

    def construct(
        self, x_BND: Tensor, shared_bias_HNN: Tensor | None, keep1_B: Tensor | None, keep2_B: Tensor | None
    ) -> Tensor:
        bias_HNN = shared_bias_HNN if self.rel_pos is None else self.rel_pos()
        x_BND = self.added(x_BND, self.attn(self.norm1(x_BND), bias_HNN), self.gamma_1, keep1_B)
        return self.added(x_BND, self.mlp(self.norm2(x_BND)), self.gamma_2, keep2_B)

    def added(self, x_BND: Tensor, branch_BND: Tensor, gamma_D: Tensor | None, keep_B: Tensor | None) -> Tensor:
        """x and a branch, scaled and dropped where there is a scale and something to drop."""
        batch, tokens, width = x_BND.shape
        kind = branch_BND.dtype
        if gamma_D is None and keep_B is None:
            return x_BND + branch_BND
        scale_D = ops.reshape(self.ones(1, width, kind), (-1,)) if gamma_D is None else cast(gamma_D, kind)
        if keep_B is None:
            keep_R1 = self.ones(batch * tokens, 1, kind)
        else:
            keep_B1 = cast(ops.reshape(keep_B, (batch, 1)), kind)
            keep_R1 = ops.reshape(self.product(keep_B1, self.ones(1, tokens, kind)), (-1, 1))
        rows = ops.reshape(x_BND, (-1, width)), ops.reshape(branch_BND, (-1, width))
        return ops.reshape(self.add(*rows, scale_D, keep_R1), (-1, tokens, width))


class BEiT(nn.Cell):
    """Vision transformer of BEiT: (B, 3, S, S) normalised images -> (B, K) float32 logits."""

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        embed_dim: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float,
        rel_pos_bias: bool,
        shared_rel_pos_bias: bool,
        abs_pos_emb: bool,
        layer_scale_init_value: float | None,
        pooling: str,
        num_classes: int,
        precision: Precision,
    ) -> None:
        super().__init__()
        grid = image_size // patch_size
        self.patch_embed = PatchEmbed(patch_size, embed_dim, precision=precision)
        self.cls_token = make_parameter(1, 1, embed_dim)
        self.pos_embed = make_parameter(1, grid * grid + 1, embed_dim) if abs_pos_emb else None
        self.rel_pos_bias = RelativePositionBias(grid, num_heads) if shared_rel_pos_bias else None
        self.blocks = nn.CellList(
            [
                Block(
                    embed_dim,
                    num_heads=num_heads,
                    mlp_ratio=mlp_ratio,
                    layer_scale_init_value=layer_scale_init_value,
                    rel_pos_grid=grid if rel_pos_bias else None,
                    precision=precision,
                )
                for _ in range(depth)
            ]
        )
        # The published models pool by the mean and normalise after it; `cls` normalises all tokens first.
        self.norm: Any = LayerNorm(embed_dim, precision=precision) if pooling == "cls" else None
        self.fc_norm: Any = LayerNorm(embed_dim, precision=precision) if pooling == "mean" else None
        self.head = Dense(embed_dim, num_classes, precision=precision)
        self.unstack = ops.Unstack()
        self.precision = precision

    def construct(self, images_BCSS: Tensor, keep_L2B: Tensor | None = None) -> Tensor:
        x_BND = self.features(images_BCSS, keep_L2B)
        if self.norm is not None:
            pooled_BD = self.norm(x_BND)[:, 0]
        else:
            # The mean of the patch tokens, without the class token.
            pooled_BD = self.fc_norm(cast(x_BND[:, 1:], self.precision.statistics).mean(axis=1))
        return cast(self.head(pooled_BD), ms.float32)

    def features(self, images_BCSS: Tensor, keep_L2B: Tensor | None) -> Tensor:
        """(B, N, D) tokens after the last block; `keep_L2B` holds 0 or 1/(1 - rate) for each block's branches."""
        patches_BND = self.patch_embed(images_BCSS)
        cls_B1D = ops.tile(cast(self.cls_token, patches_BND.dtype), (patches_BND.shape[0], 1, 1))
        x_BND = ops.concat((cls_B1D, patches_BND), axis=1)
        if self.pos_embed is not None:
            x_BND = x_BND + cast(self.pos_embed, x_BND.dtype)
        shared_bias_HNN = None if self.rel_pos_bias is None else self.rel_pos_bias()
        if keep_L2B is None:
            for block in self.blocks:
                x_BND = block(x_BND, shared_bias_HNN, None, None)
            return x_BND
        keeps = self.unstack(ops.reshape(keep_L2B, (-1, keep_L2B.shape[2])))
        for index, block in enumerate(self.blocks):
            x_BND = block(x_BND, shared_bias_HNN, keeps[2 * index], keeps[2 * index + 1])
        return x_BND
