"""Make `multi_label.npz` with torch, without this project.

python tests/golden/make_multi_label.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

GAMMA, SMOOTHING = 2.0, 0.1

generator = torch.Generator().manual_seed(0)
logits = 3 * torch.randn(16, 7, generator=generator)
hard = (torch.rand(16, 7, generator=generator) < 0.3).float()
smooth = hard * (1 - SMOOTHING) + SMOOTHING / 2
targets = 0.3 * smooth + 0.7 * smooth.flip(0)  # as mixup leaves them
weights = torch.tensor([0.2, 1.0, 3.0, 0.5, 2.0, 1.0, 7.0])

found = {"logits": logits, "hard": hard, "targets": targets, "weights": weights}
logits.requires_grad_()
losses = {
    "plain": torch.nn.BCEWithLogitsLoss()(logits, targets),
    "weighted": torch.nn.BCEWithLogitsLoss(pos_weight=weights)(logits, targets),
}
p = torch.sigmoid(logits)
cost = functional.binary_cross_entropy_with_logits(logits, hard, reduction="none")
p_of_target = p * hard + (1 - p) * (1 - hard)  # Lin et al. (arXiv 1708.02002), equation 2
losses["focal"] = ((1 - p_of_target) ** GAMMA * cost).mean()
for name, loss in losses.items():
    (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
    found |= {f"{name}_loss": loss.detach(), f"{name}_gradient": gradient}
arrays = {name: tensor.detach().numpy() for name, tensor in found.items()}
np.savez_compressed(Path(__file__).resolve().parent / "multi_label.npz", **arrays)
