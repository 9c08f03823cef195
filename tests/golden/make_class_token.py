"""Make `class_token.npz` with torch, without this project: pre-training with BEiT v2's class-token
head, written after the paper (arXiv 2208.06366, section 2.3) and the names of unilm/beit2.

python tests/golden/make_class_token.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

SIDE, PATCH, WIDTH, HEADS, DEPTH, EARLY, EXTRA, VOCABULARY = 16, 4, 12, 3, 3, 2, 2, 10
GRID = SIDE // PATCH
BATCH, STEPS, LR, WEIGHT_DECAY = 4, 20, 1e-3, 0.05


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_bias = nn.Parameter(torch.empty(WIDTH))
        self.v_bias = nn.Parameter(torch.empty(WIDTH))
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        zero = torch.zeros_like(self.q_bias)
        joint = self.qkv(x) + torch.cat((self.q_bias, zero, self.v_bias))
        q, k, v = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in joint.chunk(3, dim=-1)
        )
        out = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=bias.expand(len(x), -1, -1, -1)
        )
        return self.proj(out.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH, eps=1e-6)
        self.attn = SelfAttention()
        self.norm2 = nn.LayerNorm(WIDTH, eps=1e-6)
        self.mlp = nn.ModuleDict(
            {"fc1": nn.Linear(WIDTH, 4 * WIDTH), "fc2": nn.Linear(4 * WIDTH, WIDTH)}
        )
        self.gamma_1 = nn.Parameter(torch.empty(WIDTH))
        self.gamma_2 = nn.Parameter(torch.empty(WIDTH))

    def forward(self, x: torch.Tensor, bias: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        x = x + keep[0][:, None, None] * self.gamma_1 * self.attn(self.norm1(x), bias)
        inner = functional.gelu(self.mlp["fc1"](self.norm2(x)))
        return x + keep[1][:, None, None] * self.gamma_2 * self.mlp["fc2"](inner)


class Masked(nn.Module):
    def __init__(self, *, shares_head: bool) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, WIDTH))
        self.mask_token = nn.Parameter(torch.empty(1, 1, WIDTH))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, WIDTH, PATCH, stride=PATCH)})
        table = nn.Parameter(torch.empty((2 * GRID - 1) ** 2 + 3, HEADS))
        self.rel_pos_bias = nn.ParameterDict({"relative_position_bias_table": table})
        self.blocks = nn.ModuleList(Layer() for _ in range(DEPTH))
        self.cls_pt_layers = nn.ModuleList(Layer() for _ in range(EXTRA))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)
        self.lm_head = nn.Linear(WIDTH, VOCABULARY)
        self.shares_head = shares_head
        if not shares_head:
            self.cls_pt_norm = nn.LayerNorm(WIDTH, eps=1e-6)
            self.cls_pt_lm_head = nn.Linear(WIDTH, VOCABULARY)

    def bias(self) -> torch.Tensor:
        """(1, heads, tokens, tokens), of a table whose last three rows are the class token's."""
        table = self.rel_pos_bias["relative_position_bias_table"]
        rows = torch.full((GRID**2 + 1, GRID**2 + 1), len(table) - 2)  # patch to class token
        rows[0] = len(table) - 3
        rows[0, 0] = len(table) - 1
        for a in range(GRID**2):
            for b in range(GRID**2):
                down, right = a // GRID - b // GRID, a % GRID - b % GRID
                rows[1 + a, 1 + b] = (down + GRID - 1) * (2 * GRID - 1) + right + GRID - 1
        return table[rows].movedim(-1, 0)[None]

    def forward(
        self, images: torch.Tensor, hidden: torch.Tensor, keep: torch.Tensor
    ) -> list[torch.Tensor]:
        patches = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)
        patches = torch.where(hidden[..., None], self.mask_token, patches)
        x, bias = torch.cat((self.cls_token.expand(len(images), 1, -1), patches), 1), self.bias()
        after = []
        for layer, kept in zip(self.blocks, keep[:DEPTH], strict=True):
            x = layer(x, bias, kept)
            after.append(x)
        further = torch.cat((x[:, :1], after[EARLY - 1][:, 1:]), 1)
        for layer, kept in zip(self.cls_pt_layers, keep[DEPTH:], strict=True):
            further = layer(further, bias, kept)
        own = self.lm_head(self.norm(x[:, 1:][hidden]))
        found = further[:, 1:][hidden]
        if self.shares_head:
            return [own, self.lm_head(self.norm(found))]
        return [own, self.cls_pt_lm_head(self.cls_pt_norm(found))]


def initial_weights(network: nn.Module, generator: torch.Generator) -> None:
    """Away from where training begins, so that nothing agrees by being zero."""
    for name, parameter in network.named_parameters():
        noise = 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        is_scale = ("norm" in name and name.endswith("weight")) or "gamma" in name
        # in float32, as the project will read them
        parameter.data = (noise + (0.8 if is_scale else 0)).float().double()


def groups(network: nn.Module) -> list[dict[str, object]]:
    named = dict(network.named_parameters())
    free = {name for name, each in named.items() if each.ndim == 1} | {"cls_token"}
    return [
        {"params": [each for name, each in named.items() if name not in free]},
        {"params": [each for name, each in named.items() if name in free], "weight_decay": 0.0},
    ]


def loss_of(logits: list[torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    return sum(functional.cross_entropy(each, tokens) for each in logits)


generator = torch.Generator().manual_seed(0)
images = torch.randn(BATCH, 3, SIDE, SIDE, generator=generator).double()
hidden = torch.rand(STEPS, BATCH, GRID**2, generator=generator) < 0.4
tokens = torch.randint(VOCABULARY, (STEPS, BATCH, GRID**2), generator=generator)
draws = torch.rand(DEPTH + EXTRA, 2, BATCH, generator=generator)
keep = (draws > 0.25).double() / 0.75
found: dict[str, torch.Tensor] = {
    "images": images.float(),
    "hidden": hidden,
    "tokens": tokens.to(torch.int32),
    "keep": keep.float(),
}
keep = found["keep"].double()
every = torch.ones_like(keep)
whole = Masked(shares_head=False).double()
initial_weights(whole, generator)
weights = whole.state_dict()
found |= {f"init/{name}": tensor.float() for name, tensor in weights.items()}
for kind in ("shared", "own"):
    network = Masked(shares_head=kind == "shared").double()
    network.load_state_dict(weights, strict=kind == "own")
    logits = network(images, hidden[0], keep)
    loss = loss_of(logits, tokens[0][hidden[0]])
    loss.backward()
    found |= {f"{kind}/logits": logits[0], f"{kind}/cls_logits": logits[1], f"{kind}/loss": loss}
    for name, parameter in network.named_parameters():
        found[f"{kind}/grad/{name}"] = parameter.grad.float()
    optimizer = torch.optim.AdamW(
        groups(network), lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=WEIGHT_DECAY
    )
    losses = []
    for step in range(STEPS):
        loss = loss_of(network(images, hidden[step], every), tokens[step][hidden[step]])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    found[f"{kind}/losses"] = torch.stack(losses)
    if kind == "own":
        for name, parameter in network.named_parameters():
            found[f"{kind}/final/{name}"] = parameter.detach().float()
np.savez_compressed(
    Path(__file__).resolve().parent / "class_token.npz",
    **{name: tensor.detach().numpy() for name, tensor in found.items()},
)
