"""BEiT, the network: patches and a class token through transformer blocks, pooled and classified.

Sources: Bao et al., BEiT (arXiv 2106.08254); unilm/beit modeling_finetune.py.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops
from typing_extensions import assert_never

from beit_exp.config.schema import ModelConfig
from beit_exp.model.attention import Attention, RelativePositionBias
from beit_exp.model.layers import (
    ClassTokenPooling,
    Dense,
    LayerNorm,
    MeanPooling,
    Mlp,
    PatchEmbed,
    make_parameter,
)
from beit_exp.model.operations.choice import Operations
from beit_exp.model.precision import Precision, cast

# B batch · N tokens, the class token first · P patches · R patches of a batch · M hidden of these
# D width · H heads · L blocks · S image side · K classes · V vocabulary


class Block(nn.Cell):
    """x + γ₁ attention(norm(x)), then x + γ₂ mlp(norm(x)); training may drop a branch per image.

    The compiler takes the blocks for one, differentiates that, and puts it into the graph as often
    as needed: a third less time to compile BEiT-base. Blocks of one network may therefore differ in
    nothing but their parameters.
    """

    @ms.lazy_inline(policy="front")
    def __init__(
        self,
        width: int,
        operations: Operations,
        *,
        num_heads: int,
        mlp_ratio: float,
        layer_scale_init_value: float | None,
        rel_pos_grid: int | None,
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm(width, operations)
        self.attn = Attention(width, num_heads, operations)
        self.rel_pos = (
            None
            if rel_pos_grid is None
            else RelativePositionBias(rel_pos_grid, num_heads, operations)
        )
        self.norm2 = LayerNorm(width, operations)
        self.mlp = Mlp(width, int(width * mlp_ratio), operations)
        scale = layer_scale_init_value
        self.gamma_1 = None if scale is None else make_parameter(width, fill=scale)
        self.gamma_2 = None if scale is None else make_parameter(width, fill=scale)
        self.added = operations.add if scale is None else operations.add_scaled

    def construct(
        self,
        x_BND: Tensor,
        shared_bias_HNN: Tensor | None,
        keep1_B: Tensor | None,
        keep2_B: Tensor | None,
    ) -> Tensor:
        bias_HNN = shared_bias_HNN if self.rel_pos is None else self.rel_pos()
        x_BND = self.added(x_BND, self.attn(self.norm1(x_BND), bias_HNN), self.gamma_1, keep1_B)
        return self.added(x_BND, self.mlp(self.norm2(x_BND)), self.gamma_2, keep2_B)


class Backbone(nn.Cell):
    """Images to tokens: what fine-tuning and pre-training share."""

    def __init__(self, cfg: ModelConfig, operations: Operations) -> None:
        super().__init__()
        width, grid = cfg.embed_dim, cfg.image_size // cfg.patch_size
        self.patch_embed = PatchEmbed(cfg.patch_size, width, operations)
        self.cls_token = make_parameter(1, 1, width)
        self.pos_embed = make_parameter(1, grid * grid + 1, width) if cfg.abs_pos_emb else None
        self.rel_pos_bias = (
            RelativePositionBias(grid, cfg.num_heads, operations)
            if cfg.shared_rel_pos_bias
            else None
        )
        self.blocks = nn.CellList(
            [
                Block(
                    width,
                    operations,
                    num_heads=cfg.num_heads,
                    mlp_ratio=cfg.mlp_ratio,
                    layer_scale_init_value=cfg.layer_scale_init_value,
                    rel_pos_grid=grid if cfg.rel_pos_bias else None,
                )
                for _ in range(cfg.depth)
            ]
        )
        self.unstack = ops.Unstack()
        self.precision = operations.precision

    def tokens(self, patches_BPD: Tensor) -> Tensor:
        """Embedded patches -> (B, N, D) tokens before the first block."""
        cls_B1D = ops.tile(cast(self.cls_token, patches_BPD.dtype), (patches_BPD.shape[0], 1, 1))
        x_BND = ops.concat((cls_B1D, patches_BPD), axis=1)
        return x_BND if self.pos_embed is None else x_BND + cast(self.pos_embed, x_BND.dtype)

    def features(self, patches_BPD: Tensor, keep_L2B: Tensor | None) -> Tensor:
        """Embedded patches -> (B, N, D) tokens after the last block.

        `keep_L2B` holds 0 or 1/(1 - rate) for each block's branches.
        """
        x_BND = self.tokens(patches_BPD)
        shared_bias_HNN = None if self.rel_pos_bias is None else self.rel_pos_bias()
        if keep_L2B is None:
            for block in self.blocks:
                x_BND = block(x_BND, shared_bias_HNN, None, None)
            return x_BND
        keeps = self.unstack(ops.reshape(keep_L2B, (-1, keep_L2B.shape[2])))
        for index, block in enumerate(self.blocks):
            x_BND = block(x_BND, shared_bias_HNN, keeps[2 * index], keeps[2 * index + 1])
        return x_BND


class BEiT(Backbone):
    """Vision transformer of BEiT: (B, 3, S, S) normalised images -> (B, K) float32 logits."""

    def __init__(
        self, cfg: ModelConfig, *, num_classes: int, precision: Precision, portable: bool = False
    ) -> None:
        operations = Operations(precision, portable=portable)
        super().__init__(cfg, operations)
        # Not as an attribute, whose name would precede those of its parameters in checkpoints
        self.insert_child_to_cell("pooling", build_pooling(cfg, operations))
        self.head = Dense(cfg.embed_dim, num_classes, operations)

    def construct(self, images_BCSS: Tensor, keep_L2B: Tensor | None = None) -> Tensor:
        return self.classify(self.features(self.patch_embed(images_BCSS), keep_L2B))

    def classify(self, x_BND: Tensor) -> Tensor:
        """(B, N, D) tokens of the last block -> (B, K) float32 logits."""
        return cast(self.head(self.pooling(x_BND)), ms.float32)


def build_pooling(cfg: ModelConfig, operations: Operations) -> nn.Cell:
    match cfg.pooling:
        case "mean":
            return MeanPooling(cfg.embed_dim, operations)
        case "cls":
            return ClassTokenPooling(cfg.embed_dim, operations)
        case _:
            assert_never(cfg.pooling)


class MaskedBEiT(Backbone):
    """BEiT in pre-training: images with hidden patches -> the visual tokens of these."""

    def __init__(self, cfg: ModelConfig, *, vocabulary: int, precision: Precision) -> None:
        operations = Operations(precision)
        super().__init__(cfg, operations)
        self.mask_token = make_parameter(1, 1, cfg.embed_dim)
        self.norm = LayerNorm(cfg.embed_dim, operations)
        self.lm_head = Dense(cfg.embed_dim, vocabulary, operations)
        self.rows = operations.rows

    def construct(
        self,
        images_BCSS: Tensor,
        hidden_BP: Tensor,
        places_M: Tensor,
        keep_L2B: Tensor | None = None,
    ) -> Tensor:
        """(M, V) float32 logits of the patches at `places_M`, numbered through the batch.

        `hidden_BP` is 1 where a patch is hidden and 0 elsewhere.
        """
        patches_BPD = self.patch_embed(images_BCSS)
        batch, patches, width = patches_BPD.shape
        hidden_R1 = cast(ops.reshape(hidden_BP, (-1, 1)), patches_BPD.dtype)
        shown_RD = ops.reshape(patches_BPD, (-1, width)) * self.rows.spread_column(
            1 - hidden_R1, width
        )
        token_D = cast(ops.reshape(self.mask_token, (-1,)), patches_BPD.dtype)
        x_RD = shown_RD + self.rows.outer(hidden_R1, token_D)
        x_BND = self.features(ops.reshape(x_RD, (batch, patches, width)), keep_L2B)
        found_MD = ops.gather(ops.reshape(x_BND[:, 1:], (-1, width)), places_M, 0)
        return cast(self.lm_head(self.norm(found_MD)), ms.float32)
