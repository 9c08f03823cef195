"""BEiT v2's tokenizer, vector-quantised knowledge distillation (VQ-KD): images to codes, from which
a decoder finds again what a teacher sees in them.

Sources: Peng et al., BEiT v2 (arXiv 2208.06366), section 2.2; unilm/beit2 modeling_vqkd.py.
"""

from __future__ import annotations

import math
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from beit_exp.config.schema import Config, ModelConfig
from beit_exp.config.tokenizing import TokenizerConfig
from beit_exp.model.beit import Backbone
from beit_exp.model.build import initialise
from beit_exp.model.layers import Dense, LayerNorm
from beit_exp.model.operations.choice import Operations
from beit_exp.model.precision import Precision, build_precision, cast
from beit_exp.model.vector_quantizer import VectorQuantizer

# B batch · P patches · G patches per side · D width · C width of a code · F width of the teacher's
# features · S image side

PIXEL_MEAN = PIXEL_STD = 0.5  # the encoder's: unilm/beit2 TOKENIZER.md, --process_type default


class PatchFeatures(Backbone):
    """(B, 3, S, S) normalised images, or as many maps as `channels`, -> (B, P, D): the last block's
    patches, normalised one by one.
    """

    def __init__(self, cfg: ModelConfig, operations: Operations, *, channels: int = 3) -> None:
        super().__init__(cfg, operations, channels=channels)
        self.fc_norm = LayerNorm(cfg.embed_dim, operations)

    def construct(self, images_BCSS: Tensor) -> Tensor:
        return self.fc_norm(self.features(self.patch_embed(images_BCSS), None)[:, 1:])


class VqkdTokenizer(nn.Cell):
    """(B, 3, S, S) images in [0, 1] -> (B, P) int32 visual tokens.

    A decoder makes (B, P, F) features of codes; without `feature_width` there is none. What chooses
    the codes is float32 at any precision, as in the original.
    """

    def __init__(
        self,
        cfg: TokenizerConfig,
        *,
        image_size: int,
        patch_size: int,
        feature_width: int | None,
        precision: Precision,
    ) -> None:
        super().__init__()
        operations = Operations(precision)
        exact = Operations(build_precision("O0", half=ms.float32))
        encoder = transformer(cfg, depth=cfg.depth, image_size=image_size, patch_size=patch_size)
        self.encoder = PatchFeatures(encoder, operations)
        self.encode_task_layer = task_layer(cfg.embed_dim, cfg.code_width, exact)
        self.quantize = VectorQuantizer(cfg.vocabulary, cfg.code_width, beta=cfg.commitment)
        self.decoder: Any = None
        if feature_width is not None:
            grid = image_size // patch_size
            decoder = transformer(cfg, depth=cfg.decoder_depth, image_size=grid, patch_size=1)
            self.decoder = PatchFeatures(decoder, operations, channels=cfg.code_width)
            self.decode_task_layer = task_layer(cfg.embed_dim, feature_width, operations)

    def construct(self, images_BCSS: Tensor) -> Tensor:
        return self.quantize(self.encode(images_BCSS))[2]

    def encode(self, images_BCSS: Tensor) -> Tensor:
        """(B, 3, S, S) images in [0, 1] -> (B, P, C) float32 vectors to be quantised."""
        features_BPD = self.encoder((images_BCSS - PIXEL_MEAN) / PIXEL_STD)
        return self.encode_task_layer(cast(features_BPD, ms.float32))

    def decode(self, codes_BPC: Tensor) -> Tensor:
        """(B, P, C) codes -> (B, P, F) float32 features, as the teacher would see them."""
        batch, patches, width = codes_BPC.shape
        grid = math.isqrt(patches)
        maps_BCGG = ops.reshape(ops.transpose(codes_BPC, (0, 2, 1)), (batch, width, grid, grid))
        return cast(self.decode_task_layer(self.decoder(maps_BCGG)), ms.float32)


class Teacher(nn.Cell):
    """(B, 3, S, S) images in [0, 1] -> (B, P, F) float32: what a frozen transformer makes of their
    patches, which it sees normalised by its own mean and standard deviation.
    """

    def __init__(
        self, network: nn.Cell, *, width: int, mean: list[float], std: list[float]
    ) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.width = width
        self.mean, self.std = (
            Tensor(np.array(values, np.float32).reshape(1, 3, 1, 1)) for values in (mean, std)
        )

    def construct(self, images_BCSS: Tensor) -> Tensor:
        return cast(self.network((images_BCSS - self.mean) / self.std), ms.float32)


def transformer(
    cfg: TokenizerConfig, *, depth: int, image_size: int, patch_size: int
) -> ModelConfig:
    """The shape of an encoder or a decoder. Source: unilm/beit2 modeling_vqkd.py,
    `get_model_default_params`.
    """
    return ModelConfig(
        arch="vqkd",
        image_size=image_size,
        patch_size=patch_size,
        embed_dim=cfg.embed_dim,
        depth=depth,
        num_heads=cfg.num_heads,
        mlp_ratio=4.0,
        rel_pos_bias=False,
        shared_rel_pos_bias=False,
        abs_pos_emb=True,
        layer_scale_init_value=None,
        drop_path_rate=0.0,
        head_init_scale=1.0,
        pooling="mean",
        pretrained=None,
    )


def task_layer(width: int, width_out: int, operations: Operations) -> nn.SequentialCell:
    """Two linear layers with a tanh between."""
    return nn.SequentialCell(
        Dense(width, width, operations), nn.Tanh(), Dense(width, width_out, operations)
    )


def build_vqkd(cfg: Config, *, feature_width: int | None, precision: Precision) -> VqkdTokenizer:
    """The tokenizer of `cfg`, its weights drawn as the original's; the codes stay zero until a
    first batch tells where they begin.
    """
    network = VqkdTokenizer(
        cfg.tokenizer,
        image_size=cfg.model.image_size,
        patch_size=cfg.model.patch_size,
        feature_width=feature_width,
        precision=precision,
    )
    first = 0
    for name, part in network.name_cells().items():
        if part is not network.quantize:
            initialise(part, seed=cfg.seed, head_init_scale=1.0, prefix=f"{name}.", first=first)
        first += len(list(part.get_parameters()))
    return network
