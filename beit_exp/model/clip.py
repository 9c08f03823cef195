"""CLIP's vision transformer, as BEiT v2's tokenizer is taught by it: patches in the space that CLIP
shares with texts. It only teaches, so no gradient is made fast.

Sources: Radford et al., CLIP (arXiv 2103.00020); unilm/beit2 vqkd_teacher/clip/model.py,
`VisionTransformer`.
"""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops

from beit_exp.config.schema import ModelConfig
from beit_exp.model.attention import Attention
from beit_exp.model.layers import Dense, DenseWithoutBias, PatchEmbed, make_parameter
from beit_exp.model.operations.choice import Operations
from beit_exp.model.precision import cast

# B batch · N tokens, the class token first · P patches · D width · F width of the features
# S image side

NORM_EPS = 1e-5  # torch's; BEiT has 1e-6
GELU_SLOPE = 1.702


class ClipNorm(nn.Cell):
    """Layer normalisation over the last axis, in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = make_parameter(width, fill=1.0)
        self.bias = make_parameter(width)

    def construct(self, x: Tensor) -> Tensor:
        x = cast(x, ms.float32)
        centred = x - x.mean(axis=-1, keep_dims=True)
        variance = ops.square(centred).mean(axis=-1, keep_dims=True)
        return centred * ops.rsqrt(variance + NORM_EPS) * self.weight + self.bias


class ClipMlp(nn.Cell):
    """Two dense layers with x · sigmoid(1.702 x) between."""

    def __init__(self, width: int, hidden: int, operations: Operations) -> None:
        super().__init__()
        self.fc1 = Dense(width, hidden, operations)
        self.fc2 = Dense(hidden, width, operations)

    def construct(self, x_BND: Tensor) -> Tensor:
        hidden = self.fc1(x_BND)
        return self.fc2(hidden * ops.sigmoid(GELU_SLOPE * hidden))


class ClipBlock(nn.Cell):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, cfg: ModelConfig, operations: Operations) -> None:
        super().__init__()
        width = cfg.embed_dim
        self.norm1 = ClipNorm(width)
        self.attn = Attention(width, cfg.num_heads, operations)
        self.norm2 = ClipNorm(width)
        self.mlp = ClipMlp(width, int(width * cfg.mlp_ratio), operations)

    def construct(self, x_BND: Tensor) -> Tensor:
        x_BND = x_BND + self.attn(self.norm1(x_BND), None)
        return x_BND + self.mlp(self.norm2(x_BND))


class ClipPatches(nn.Cell):
    """(B, 3, S, S) normalised images -> (B, P, F): the last block's patches, normalised one by one
    and projected as CLIP projects its class token.
    """

    def __init__(self, cfg: ModelConfig, operations: Operations, *, feature_width: int) -> None:
        super().__init__()
        width, grid = cfg.embed_dim, cfg.image_size // cfg.patch_size
        self.patch_embed = PatchEmbed(cfg.patch_size, width, operations, channels=3)
        self.cls_token = make_parameter(1, 1, width)
        self.pos_embed = make_parameter(1, grid * grid + 1, width)
        self.norm_pre = ClipNorm(width)
        self.blocks = nn.CellList([ClipBlock(cfg, operations) for _ in range(cfg.depth)])
        self.fc_norm = ClipNorm(width)
        self.projection = DenseWithoutBias(width, feature_width, operations)

    def construct(self, images_BCSS: Tensor) -> Tensor:
        patches_BPD = self.patch_embed(images_BCSS)
        cls_B1D = ops.tile(cast(self.cls_token, patches_BPD.dtype), (patches_BPD.shape[0], 1, 1))
        x_BND = self.norm_pre(ops.concat((cls_B1D, patches_BPD), axis=1) + self.pos_embed)
        for block in self.blocks:
            x_BND = block(x_BND)
        return self.projection(self.fc_norm(x_BND[:, 1:]))
