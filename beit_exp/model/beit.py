"""BEiT, the network: patches and a class token through transformer blocks, pooled and classified.

Sources: Bao et al., BEiT (arXiv 2106.08254), and Peng et al., BEiT v2 (arXiv 2208.06366);
unilm/beit modeling_finetune.py, unilm/beit2 modeling_pretrain.py.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops
from typing_extensions import assert_never

from beit_exp.config.schema import MaskConfig, ModelConfig
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
# D width · H heads · L blocks · E blocks beside them · S image side · K classes · V vocabulary


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

    def __init__(self, cfg: ModelConfig, operations: Operations, *, channels: int = 3) -> None:
        super().__init__()
        width, grid = cfg.embed_dim, cfg.image_size // cfg.patch_size
        self.patch_embed = PatchEmbed(cfg.patch_size, width, operations, channels=channels)
        self.cls_token = make_parameter(1, 1, width)
        self.pos_embed = make_parameter(1, grid * grid + 1, width) if cfg.abs_pos_emb else None
        self.rel_pos_bias = (
            RelativePositionBias(grid, cfg.num_heads, operations)
            if cfg.shared_rel_pos_bias
            else None
        )
        self.blocks = build_blocks(cfg, operations, count=cfg.depth)
        self.unstack = ops.Unstack()
        self.precision = operations.precision

    def tokens(self, patches_BPD: Tensor) -> Tensor:
        """Embedded patches -> (B, N, D) tokens before the first block."""
        cls_B1D = ops.tile(cast(self.cls_token, patches_BPD.dtype), (patches_BPD.shape[0], 1, 1))
        x_BND = ops.concat((cls_B1D, patches_BPD), axis=1)
        if self.pos_embed is not None:
            x_BND = x_BND + cast(self.pos_embed, x_BND.dtype)
        return x_BND

    def features(self, patches_BPD: Tensor, keep_L2B: Tensor | None) -> Tensor:
        """Embedded patches -> (B, N, D) tokens after the last block.

        `keep_L2B` holds 0 or 1/(1 - rate) for each block's branches.
        """
        x_BND, shared_bias_HNN = self.tokens(patches_BPD), self.shared_bias()
        return self.through(self.blocks, x_BND, shared_bias_HNN, keep_L2B)[-1]

    def shared_bias(self) -> Tensor | None:
        """(H, N, N) that every block adds to its scores; None if each has its own, or there is
        none.
        """
        return None if self.rel_pos_bias is None else self.rel_pos_bias()

    def through(
        self,
        blocks: nn.CellList,
        x_BND: Tensor,
        shared_bias_HNN: Tensor | None,
        keep_L2B: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """(B, N, D) tokens before the first of `blocks` and after each of them."""
        found: tuple[Tensor, ...] = (x_BND,)
        if keep_L2B is None:
            for block in blocks:
                found += (block(found[-1], shared_bias_HNN, None, None),)
            return found
        keeps = self.unstack(ops.reshape(keep_L2B, (-1, keep_L2B.shape[2])))
        for index, block in enumerate(blocks):
            kept = keeps[2 * index], keeps[2 * index + 1]
            found += (block(found[-1], shared_bias_HNN, kept[0], kept[1]),)
        return found


def build_blocks(cfg: ModelConfig, operations: Operations, *, count: int) -> nn.CellList:
    return nn.CellList(
        [
            Block(
                cfg.embed_dim,
                operations,
                num_heads=cfg.num_heads,
                mlp_ratio=cfg.mlp_ratio,
                layer_scale_init_value=cfg.layer_scale_init_value,
                rel_pos_grid=cfg.image_size // cfg.patch_size if cfg.rel_pos_bias else None,
            )
            for _ in range(count)
        ]
    )


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
    """BEiT in pre-training: images with hidden patches -> the visual tokens of these.

    With `mask.early_block`, as in BEiT v2, further blocks see the last block's class token among
    the patches' tokens of that early block: what these lack, the class token must bring. They
    predict, too, by the same head or by one of their own.
    """

    def __init__(
        self, cfg: ModelConfig, mask: MaskConfig, *, vocabulary: int, precision: Precision
    ) -> None:
        operations = Operations(precision)
        super().__init__(cfg, operations)
        self.mask_token = make_parameter(1, 1, cfg.embed_dim)
        self.norm = LayerNorm(cfg.embed_dim, operations)
        self.lm_head = Dense(cfg.embed_dim, vocabulary, operations)
        self.rows = operations.rows
        self.depth = cfg.depth
        self.early_block = mask.early_block
        self.shares_head = mask.shared_lm_head
        if extra := extra_blocks(mask):
            self.cls_pt_layers = build_blocks(cfg, operations, count=len(extra))
        if not mask.shared_lm_head:
            self.cls_pt_norm = LayerNorm(cfg.embed_dim, operations)
            self.cls_pt_lm_head = Dense(cfg.embed_dim, vocabulary, operations)

    def construct(
        self,
        images_BCSS: Tensor,
        hidden_BP: Tensor,
        places_M: Tensor,
        keep_L2B: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """(M, V) float32 logits of the patches at `places_M`, numbered through the batch; then
        those by the further blocks, if there are any.

        `hidden_BP` is 1 where a patch is hidden and 0 elsewhere. `keep_L2B` is of all blocks,
        (L + E, 2, B), the further ones last.
        """
        patches_BPD = self.patch_embed(images_BCSS)
        batch, patches, width = patches_BPD.shape
        hidden_R1 = cast(ops.reshape(hidden_BP, (-1, 1)), patches_BPD.dtype)
        shown_RD = ops.reshape(patches_BPD, (-1, width)) * self.rows.spread_column(
            1 - hidden_R1, width
        )
        token_D = cast(ops.reshape(self.mask_token, (-1,)), patches_BPD.dtype)
        x_RD = shown_RD + self.rows.outer(hidden_R1, token_D)
        x_BND = self.tokens(ops.reshape(x_RD, (batch, patches, width)))
        bias_HNN, (own, further) = self.shared_bias(), self.split(keep_L2B)
        states = self.through(self.blocks, x_BND, bias_HNN, own)
        logits_MV = self.lm_head(self.norm(chosen(states[-1], places_M)))
        if self.early_block is None:
            return (cast(logits_MV, ms.float32),)
        x_BND = ops.concat((states[-1][:, :1], states[self.early_block][:, 1:]), axis=1)
        x_BND = self.through(self.cls_pt_layers, x_BND, bias_HNN, further)[-1]
        found_MD = chosen(x_BND, places_M)
        cls_logits_MV = (
            self.lm_head(self.norm(found_MD))
            if self.shares_head
            else self.cls_pt_lm_head(self.cls_pt_norm(found_MD))
        )
        return cast(logits_MV, ms.float32), cast(cls_logits_MV, ms.float32)

    def split(self, keep_L2B: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Of the blocks, and of the further ones."""
        if keep_L2B is None or self.early_block is None:
            return keep_L2B, None
        return keep_L2B[: self.depth], keep_L2B[self.depth :]


def extra_blocks(mask: MaskConfig) -> range:
    """The blocks beside the network's in pre-training, numbered as if they followed the early one
    whose patches they see.
    """
    if mask.early_block is None or mask.head_blocks is None:
        return range(0)
    return range(mask.early_block, mask.early_block + mask.head_blocks)


def chosen(x_BND: Tensor, places_M: Tensor) -> Tensor:
    """(B, N, D) tokens -> (M, D) of those patches, numbered through the batch."""
    return ops.gather(ops.reshape(x_BND[:, 1:], (-1, x_BND.shape[2])), places_M, 0)
