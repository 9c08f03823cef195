"""Make `vector_quantizer.npz` with torch, without this project: the codebook of BEiT v2's tokenizer
in twenty steps, written after the paper (arXiv 2208.06366, section 2.2).

python tests/golden/make_vqkd.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

STEPS, BATCH, PATCHES, WIDTH, VOCABULARY, BETA, DECAY, ITERATIONS = 20, 2, 9, 4, 8, 0.7, 0.9, 10


def nearest(unit: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    return torch.cdist(unit, codes).argmin(-1)


def centres(unit: torch.Tensor, tokens: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
    """The direction of the mean of each code's vectors; where it has none, the old code."""
    found = old.clone()
    for code in tokens.unique():
        found[code] = functional.normalize(unit[tokens == code].mean(0), dim=0)
    return found


generator = torch.Generator().manual_seed(0)
inputs = torch.randn(STEPS, BATCH, PATCHES, WIDTH, generator=generator).float().double()
weights = torch.randn(BATCH, PATCHES, WIDTH, generator=generator).float().double()
samples = functional.normalize(inputs[0].flatten(0, 1), dim=-1)
start = samples[torch.randperm(len(samples), generator=generator)[: VOCABULARY - 1]]
start = torch.cat((start, -samples.mean(0, keepdim=True)))
start[-1] = functional.normalize(start[:1] + 0.001, dim=-1)[0]  # beside another: rarely the nearest
codes = start
for _ in range(ITERATIONS):
    codes = centres(samples, nearest(samples, codes), codes)
found = {"inputs": inputs, "weights": weights, "start": start, "kmeans": codes}
usage = torch.zeros(VOCABULARY, dtype=torch.float64)
steps: dict[str, list[torch.Tensor]] = {}
for each in inputs:
    x = each.clone().requires_grad_()
    unit = functional.normalize(x, dim=-1)
    tokens = nearest(unit.detach().flatten(0, 1), codes)
    chosen = codes[tokens].view_as(unit)
    price = BETA * functional.mse_loss(unit, chosen)
    passed = unit + (chosen - unit).detach()
    ((passed * weights).sum() + price).backward()
    flat = unit.detach().flatten(0, 1)
    codes = functional.normalize(DECAY * codes + (1 - DECAY) * centres(flat, tokens, codes), dim=-1)
    counts = torch.bincount(tokens, minlength=VOCABULARY)
    usage = DECAY * usage + (1 - DECAY) * counts
    told = {"passed": passed, "price": price, "tokens": tokens.view(BATCH, PATCHES)}
    told |= {"gradients": x.grad, "codes": codes, "usage": usage, "counts": counts}
    for name, tensor in told.items():
        steps.setdefault(name, []).append(tensor.detach().clone())
found |= {name: torch.stack(tensors) for name, tensors in steps.items()}
np.savez_compressed(
    Path(__file__).resolve().parent / "vector_quantizer.npz",
    **{
        name: (tensor.float() if tensor.is_floating_point() else tensor.int()).numpy()
        for name, tensor in found.items()
    },
)
print("codes that some step does not use:", int((found["counts"] == 0).any(0).sum()))
