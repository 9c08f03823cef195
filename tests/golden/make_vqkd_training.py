"""Make `vqkd_training.npz` and `vqkd_tokenizer.pth` with torch, without this project: training of
BEiT v2's tokenizer by a small DINO in twenty steps, and the tokenizer after them, written after the
paper (arXiv 2208.06366, section 2.2), the names of unilm/beit2 and those of DINO.

python tests/golden/make_vqkd_training.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

SIDE, PATCH, WIDTH, HEADS, DEPTH, DECODER_DEPTH, CODE_WIDTH, VOCABULARY = 16, 4, 12, 3, 2, 1, 4, 8
TEACHER_WIDTH, TEACHER_HEADS = 128, 2
GRID = SIDE // PATCH
BATCH, STEPS, LR, WEIGHT_DECAY, BETA, DECAY = 3, 20, 1e-3, 0.05, 1.0, 0.9
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class SelfAttention(nn.Module):
    """With a key's bias, as DINO has one, or with biases of query and value alone."""

    def __init__(self, width: int, heads: int, *, has_key_bias: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=has_key_bias)
        if not has_key_bias:
            self.q_bias = nn.Parameter(torch.empty(width))
            self.v_bias = nn.Parameter(torch.empty(width))
        self.proj = nn.Linear(width, width)
        self.heads = heads

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        joint = self.qkv(x)
        if self.qkv.bias is None:
            joint = joint + torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in joint.chunk(3, -1)
        )
        out = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, *, hidden: int, has_key_bias: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = SelfAttention(width, heads, has_key_bias=has_key_bias)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm2(x))))


class Transformer(nn.Module):
    """Maps to their patches' normalised outputs, by absolute positions."""

    def __init__(
        self, width: int, heads: int, depth: int, *, channels: int, patch: int, norm: str
    ) -> None:
        super().__init__()
        is_dino = norm == "norm"
        hidden = width if is_dino else 4 * width
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, GRID**2 + 1, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(channels, width, patch, stride=patch)})
        self.blocks = nn.ModuleList(
            Layer(width, heads, hidden=hidden, has_key_bias=is_dino) for _ in range(depth)
        )
        self.add_module(norm, nn.LayerNorm(width, eps=1e-6))
        self.last = norm

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        patches = self.patch_embed["proj"](maps).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(len(maps), 1, -1), patches), 1) + self.pos_embed
        for layer in self.blocks:
            x = layer(x)
        return self.get_submodule(self.last)(x)[:, 1:]


def task_layer(width: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width_out))


class Tokenizer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        own = {"norm": "fc_norm"}
        self.encoder = Transformer(WIDTH, HEADS, DEPTH, channels=3, patch=PATCH, **own)
        self.decoder = Transformer(WIDTH, HEADS, DECODER_DEPTH, channels=CODE_WIDTH, patch=1, **own)
        self.encode_task_layer = task_layer(WIDTH, CODE_WIDTH)
        self.decode_task_layer = task_layer(WIDTH, TEACHER_WIDTH)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Vectors of length 1."""
        found = self.encode_task_layer(self.encoder(images * 2 - 1))
        return functional.normalize(found, dim=-1)

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        maps = codes.transpose(1, 2).unflatten(-1, (GRID, GRID))
        return self.decode_task_layer(self.decoder(maps))


def initial_weights(network: nn.Module, generator: torch.Generator) -> None:
    """Away from where training begins, so that nothing agrees by being zero."""
    for name, parameter in network.named_parameters():
        noise = 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        is_scale = "norm" in name and name.endswith("weight")
        # in float32, as the project will read them
        parameter.data = (noise + (0.8 if is_scale else 0)).float().double()


def centres(unit: torch.Tensor, tokens: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """The direction of the mean of each code's vectors; where it has none, the old code."""
    found = old.clone()
    for code in tokens.unique():
        found[code] = functional.normalize(unit[tokens == code].mean(0), dim=0)
    return found


def nearest(unit: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    return torch.cdist(unit, codes).argmin(-1)


generator = torch.Generator().manual_seed(0)
images = torch.rand(STEPS, BATCH, 3, SIDE, SIDE, generator=generator)
teacher = Transformer(
    TEACHER_WIDTH, TEACHER_HEADS, 1, channels=3, patch=PATCH, norm="norm"
).double()
tokenizer = Tokenizer().double()
for network in (teacher, tokenizer):
    initial_weights(network, generator)
mean, std = (torch.tensor(each).double()[:, None, None] for each in (MEAN, STD))
with torch.no_grad():
    targets = torch.stack([teacher((each.double() - mean) / std) for each in images])
    samples = tokenizer.encode(images[0].double()).flatten(0, 1)
start = torch.randperm(len(samples), generator=generator)[:VOCABULARY]
codes = samples[start]
for _ in range(10):
    codes = centres(samples, nearest(samples, codes), codes)
found = {"images": images, "target": targets[0], "start": start, "kmeans": codes}
found |= {f"teacher/{name}": each for name, each in teacher.state_dict().items()}
found |= {f"init/{name}": each.clone() for name, each in tokenizer.state_dict().items()}
named = dict(tokenizer.named_parameters())
free = {
    name
    for name, each in named.items()
    if each.ndim == 1 or name.endswith((".cls_token", ".pos_embed"))
}
optimizer = torch.optim.AdamW(
    [
        {"params": [each for name, each in named.items() if name not in free]},
        {"params": [each for name, each in named.items() if name in free], "weight_decay": 0.0},
    ],
    lr=LR,
    betas=(0.9, 0.99),
    eps=1e-8,
    weight_decay=WEIGHT_DECAY,
)
usage = torch.zeros(VOCABULARY, dtype=torch.float64)
steps: dict[str, list[torch.Tensor]] = {}
for each, target in zip(images.double(), targets, strict=True):
    unit = tokenizer.encode(each)
    flat = unit.detach().flatten(0, 1)
    tokens = nearest(flat, codes)
    chosen = codes[tokens].view_as(unit)
    price = BETA * functional.mse_loss(unit, chosen)
    decoded = tokenizer.decode(unit + (chosen - unit).detach())
    distance = (1 - functional.cosine_similarity(decoded, target, dim=-1)).mean()
    optimizer.zero_grad()
    (distance + price).backward()
    optimizer.step()
    codes = functional.normalize(DECAY * codes + (1 - DECAY) * centres(flat, tokens, codes), dim=-1)
    usage = DECAY * usage + (1 - DECAY) * torch.bincount(tokens, minlength=VOCABULARY)
    told = {"losses": distance + price, "distances": distance, "prices": price}
    told |= {"tokens": tokens.view(BATCH, -1), "codes": codes, "usage": usage}
    for name, tensor in told.items():
        steps.setdefault(name, []).append(tensor.detach().clone())
found |= {name: torch.stack(tensors) for name, tensors in steps.items()}
found |= {f"final/{name}": each for name, each in tokenizer.state_dict().items()}
with torch.no_grad():
    flat = tokenizer.encode(images[0].double()).flatten(0, 1)
found["trained_tokens"] = nearest(flat, codes).view(BATCH, -1)
here = Path(__file__).resolve().parent
published = {name: each.float() for name, each in tokenizer.state_dict().items()}
published |= {
    "quantize.cluster_size": usage.float(),
    "quantize.embedding.weight": codes.float(),
    "quantize.embedding.cluster_size": torch.zeros(VOCABULARY),
    "quantize.embedding.embed_avg": codes.float(),
    "quantize.embedding.initted": torch.ones(1),
    "scaling_layer.shift": mean.float()[None],
    "scaling_layer.scale": std.float()[None],
    "teacher_model.cls_token": teacher.cls_token.detach().float(),
}
torch.save({"model": published, "epoch": 0}, here / "vqkd_tokenizer.pth")
np.savez_compressed(
    here / "vqkd_training.npz",
    **{
        name: (tensor.float() if tensor.is_floating_point() else tensor.int()).numpy()
        for name, tensor in found.items()
    },
)
print("losses", [round(float(each), 4) for each in found["losses"]])
print("codes in use at the end", len(found["tokens"][-1].unique()))
