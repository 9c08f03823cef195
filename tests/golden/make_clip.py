"""Make `clip.npz` with torch, without this project: a small vision transformer as CLIP has one,
written after the names of its tensors, and the projected features of the patches of two images.

python tests/golden/make_clip.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

SIDE, PATCH, WIDTH, HEADS, DEPTH, FEATURES = 16, 8, 128, 2, 2, 24
TOKENS = (SIDE // PATCH) ** 2 + 1


class Layer(nn.Module):
    """Torch's own attention, whose tensors have CLIP's names."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(WIDTH, WIDTH), "c_proj": nn.Linear(WIDTH, WIDTH)}
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        unit = self.ln_1(x)
        x = x + self.attn(unit, unit, unit, need_weights=False)[0]
        hidden = self.mlp["c_fc"](self.ln_2(x))
        return x + self.mlp["c_proj"](hidden / (1 + torch.exp(-1.702 * hidden)))


class Visual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.empty(WIDTH))
        self.positional_embedding = nn.Parameter(torch.empty(TOKENS, WIDTH))
        self.proj = nn.Parameter(torch.empty(WIDTH, FEATURES))
        self.conv1 = nn.Conv2d(3, WIDTH, PATCH, stride=PATCH, bias=False)
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.transformer = nn.ModuleDict(
            {"resblocks": nn.Sequential(*(Layer() for _ in range(DEPTH)))}
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        x = torch.cat((self.class_embedding.expand(len(images), 1, -1), patches), 1)
        x = self.transformer["resblocks"](self.ln_pre(x + self.positional_embedding))
        return self.ln_post(x)[:, 1:] @ self.proj


generator = torch.Generator().manual_seed(0)
network = Visual().double()
for name, parameter in network.named_parameters():
    noise = 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    is_scale = "ln_" in name and name.endswith("weight")
    parameter.data = (noise + (0.8 if is_scale else 0)).float().double()
images = torch.rand(2, 3, SIDE, SIDE, generator=generator)
mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).double()[:, None, None]
std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).double()[:, None, None]
with torch.no_grad():
    features = network((images.double() - mean) / std)
found = {"images": images, "features": features}
found |= {f"weights/visual.{name}": each for name, each in network.state_dict().items()}
found["weights/logit_scale"] = torch.ones(())  # beside the visual part there is the texts'
np.savez_compressed(
    Path(__file__).resolve().parent / "clip.npz",
    **{name: tensor.float().numpy() for name, tensor in found.items()},
)
