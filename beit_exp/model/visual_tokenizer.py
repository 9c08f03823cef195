"""Images to visual tokens: the encoder of DALL-E's discrete VAE.

Sources: Ramesh et al., Zero-Shot Text-to-Image Generation (arXiv 2102.12092); openai/DALL-E, encoder.py and utils.py.
"""

from __future__ import annotations

import re

from mindspore import Tensor, nn, ops

# B batch · C channels · S image side · G tokens per side, S / 8 · V vocabulary

GROUPS = 4
PIXEL_EPS = 0.1


def map_pixels(images: Tensor) -> Tensor:
    """[0, 1] -> [0.1, 0.9]: the logit-Laplace likelihood of the autoencoder needs a distance from both ends."""
    return images * (1 - 2 * PIXEL_EPS) + PIXEL_EPS


def convolution(channels_in: int, channels_out: int, size: int) -> nn.Cell:
    return nn.Conv2d(channels_in, channels_out, size, pad_mode="pad", padding=size // 2, has_bias=True)


class EncoderBlock(nn.Cell):
    """x + gain · four convolutions of relu(x); the first path is a 1 x 1 convolution where the width changes."""

    def __init__(self, channels_in: int, channels_out: int, *, gain: float) -> None:
        super().__init__()
        inner = channels_out // 4
        self.id_path = convolution(channels_in, channels_out, 1) if channels_in != channels_out else None
        self.conv_1 = convolution(channels_in, inner, 3)
        self.conv_2 = convolution(inner, inner, 3)
        self.conv_3 = convolution(inner, inner, 3)
        self.conv_4 = convolution(inner, channels_out, 1)
        self.gain = gain

    def construct(self, x: Tensor) -> Tensor:
        y = self.conv_1(ops.relu(x))
        y = self.conv_2(ops.relu(y))
        y = self.conv_3(ops.relu(y))
        y = self.conv_4(ops.relu(y))
        return (x if self.id_path is None else self.id_path(x)) + y * self.gain


class DalleEncoder(nn.Cell):
    """(B, 3, S, S) images in [0.1, 0.9] -> (B, V, G, G) logits of the visual tokens."""

    def __init__(self, *, hidden: int, blocks_per_group: int, vocabulary: int) -> None:
        super().__init__()
        gain = (GROUPS * blocks_per_group) ** -2
        widths = [hidden, *(hidden * 2**group for group in range(GROUPS))]
        self.input = convolution(3, hidden, 7)
        self.groups = nn.CellList(
            [
                nn.CellList(
                    [
                        EncoderBlock(widths[group] if block == 0 else widths[group + 1], widths[group + 1], gain=gain)
                        for block in range(blocks_per_group)
                    ]
                )
                for group in range(GROUPS)
            ]
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


def our_name(official: str) -> str:
    """The name of an official tensor, `blocks.group_1.block_1.res_path.conv_1.w`, in `DalleEncoder`."""
    name = re.sub(r"^blocks\.(input|output)(\.conv)?\.", r"\1.", official)
    name = re.sub(
        r"^blocks\.group_(\d+)\.block_(\d+)\.(res_path\.)?",
        lambda found: f"groups.{int(found[1]) - 1}.{int(found[2]) - 1}.",
        name,
    )
    return re.sub(r"\.([wb])$", lambda found: {"w": ".weight", "b": ".bias"}[found[1]], name)
