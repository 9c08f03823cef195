"""Images to visual tokens and back: the discrete VAE of DALL-E, of any width.

Sources: Ramesh et al., Zero-Shot Text-to-Image Generation (arXiv 2102.12092); openai/DALL-E,
encoder.py, decoder.py and utils.py.
"""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from beit_exp.config.tokenizing import TokenizerConfig
from beit_exp.randomness import Stream, generator

# B batch · C channels · S image side · G tokens per side, S / 8 · P tokens of an image
# V vocabulary

GROUPS = 4
ENCODER_KERNELS = (3, 3, 3, 1)
DECODER_KERNELS = (1, 3, 3, 3)
PIXEL_EPS = 0.1


def map_pixels(images: Tensor) -> Tensor:
    """[0, 1] -> [0.1, 0.9]: the autoencoder's logit-Laplace likelihood is to stay off both ends."""
    return images * (1 - 2 * PIXEL_EPS) + PIXEL_EPS


def unmap_pixels(images: Tensor) -> Tensor:
    """What `map_pixels` undid, within [0, 1]."""
    return ops.clamp((images - PIXEL_EPS) / (1 - 2 * PIXEL_EPS), 0.0, 1.0)


def convolution(channels_in: int, channels_out: int, size: int) -> nn.Cell:
    return nn.Conv2d(
        channels_in, channels_out, size, pad_mode="pad", padding=size // 2, has_bias=True
    )


class ResidualBlock(nn.Cell):
    """x + gain · four convolutions of relu(x).

    Where the width changes, the first path is a 1 x 1 convolution.
    """

    def __init__(
        self, channels_in: int, channels_out: int, *, kernels: tuple[int, ...], gain: float
    ) -> None:
        super().__init__()
        inner = channels_out // 4
        self.id_path = (
            nn.Identity()
            if channels_in == channels_out
            else convolution(channels_in, channels_out, 1)
        )
        self.conv_1 = convolution(channels_in, inner, kernels[0])
        self.conv_2 = convolution(inner, inner, kernels[1])
        self.conv_3 = convolution(inner, inner, kernels[2])
        self.conv_4 = convolution(inner, channels_out, kernels[3])
        self.gain = gain

    def construct(self, x: Tensor) -> Tensor:
        y = self.conv_1(ops.relu(x))
        y = self.conv_2(ops.relu(y))
        y = self.conv_3(ops.relu(y))
        y = self.conv_4(ops.relu(y))
        return self.id_path(x) + y * self.gain


def groups_of_blocks(
    widths: list[int], *, blocks_per_group: int, kernels: tuple[int, ...]
) -> nn.CellList:
    """A group of blocks for each step of `widths`, whose first block changes the width."""
    gain = (GROUPS * blocks_per_group) ** -2
    return nn.CellList(
        [
            nn.CellList(
                [
                    ResidualBlock(
                        before if block == 0 else after, after, kernels=kernels, gain=gain
                    )
                    for block in range(blocks_per_group)
                ]
            )
            for before, after in pairwise(widths)
        ]
    )


class DalleEncoder(nn.Cell):
    """(B, 3, S, S) images in [0.1, 0.9] -> (B, V, G, G) logits of the visual tokens."""

    def __init__(self, *, hidden: int, blocks_per_group: int, vocabulary: int) -> None:
        super().__init__()
        widths = [hidden, *(hidden * 2**group for group in range(GROUPS))]
        self.input = convolution(3, hidden, 7)
        self.groups = groups_of_blocks(
            widths, blocks_per_group=blocks_per_group, kernels=ENCODER_KERNELS
        )
        self.pool = nn.MaxPool2d(kernel_size=2, stride=2)
        self.output = convolution(widths[-1], vocabulary, 1)

    def construct(self, images_BCSS: Tensor) -> Tensor:
        x = self.input(images_BCSS)
        for number, group in enumerate(self.groups):
            for block in group:
                x = block(x)
            if number < GROUPS - 1:
                x = self.pool(x)
        return self.output(ops.relu(x))


class Doubling(nn.Cell):
    """(B, C, S, S) -> (B, C, 2 S, 2 S): each pixel four times."""

    def construct(self, x_BCSS: Tensor) -> Tensor:
        batch, channels, height, width = x_BCSS.shape
        column = ops.reshape(x_BCSS, (-1, 1))
        wide = ops.reshape(ops.concat((column, column), axis=1), (-1, 2 * width))
        return ops.reshape(
            ops.concat((wide, wide), axis=1), (batch, channels, 2 * height, 2 * width)
        )


class DalleDecoder(nn.Cell):
    """(B, V, G, G) shares of the visual tokens -> (B, 6, S, S).

    μ and ln b of each colour's logit-Laplace law.
    """

    def __init__(
        self, *, input_width: int, hidden: int, blocks_per_group: int, vocabulary: int
    ) -> None:
        super().__init__()
        widths = [input_width, *(hidden * 2**group for group in reversed(range(GROUPS)))]
        self.input = convolution(vocabulary, input_width, 1)
        self.groups = groups_of_blocks(
            widths, blocks_per_group=blocks_per_group, kernels=DECODER_KERNELS
        )
        self.double = Doubling()
        self.output = convolution(widths[-1], 6, 1)

    def construct(self, tokens_BVGG: Tensor) -> Tensor:
        x = self.input(tokens_BVGG)
        for number, group in enumerate(self.groups):
            for block in group:
                x = block(x)
            if number < GROUPS - 1:
                x = self.double(x)
        return self.output(ops.relu(x))


class VisualTokenizer(nn.Cell):
    """(B, 3, S, S) images in [0, 1] -> (B, P) int32 visual tokens; a decoder goes back."""

    def __init__(self, cfg: TokenizerConfig, *, has_decoder: bool) -> None:
        super().__init__()
        shape = {
            "hidden": cfg.hidden,
            "blocks_per_group": cfg.blocks_per_group,
            "vocabulary": cfg.vocabulary,
        }
        self.vocabulary = cfg.vocabulary
        self.encoder = DalleEncoder(**shape)
        self.decoder: Any = (
            DalleDecoder(input_width=cfg.decoder_input, **shape) if has_decoder else None
        )

    def construct(self, images_BCSS: Tensor) -> Tensor:
        logits_BVGG = self.encoder(map_pixels(images_BCSS))
        return ops.reshape(ops.argmax(logits_BVGG, 1), (logits_BVGG.shape[0], -1)).astype(ms.int32)

    def decode(self, tokens_BP: Tensor) -> Tensor:
        """(B, P) tokens -> (B, 6, S, S), see `DalleDecoder`."""
        grid = math.isqrt(tokens_BP.shape[1])
        shares_BVP = ops.one_hot(tokens_BP, self.vocabulary, ms.Tensor(1.0), ms.Tensor(0.0), axis=1)
        return self.decoder(ops.reshape(shares_BVP, (-1, self.vocabulary, grid, grid)))


def build_tokenizer(cfg: TokenizerConfig, *, has_decoder: bool, seed: int) -> VisualTokenizer:
    """A tokenizer with initial weights: normal with standard deviation 1/√fan_in, biases 0."""
    network = VisualTokenizer(cfg, has_decoder=has_decoder)
    for number, parameter in enumerate(network.get_parameters()):
        if parameter.ndim == 4:
            rng = generator(seed, Stream.weights, number)
            fan_in = parameter[0].size
            value = rng.standard_normal(parameter.shape, dtype=np.float32) / np.sqrt(fan_in)
        else:
            value = np.zeros(parameter.shape)
        parameter.set_data(Tensor(value.astype(np.float32)))
    return network


def our_name(official: str) -> str:
    """The name in our encoder or decoder of `blocks.group_1.block_1.res_path.conv_1.w`."""
    name = re.sub(r"^blocks\.(input|output)(\.conv)?\.", r"\1.", official)
    name = re.sub(
        r"^blocks\.group_(\d+)\.block_(\d+)\.(res_path\.)?",
        lambda found: f"groups.{int(found[1]) - 1}.{int(found[2]) - 1}.",
        name,
    )
    return re.sub(r"\.([wb])$", lambda found: {"w": ".weight", "b": ".bias"}[found[1]], name)
