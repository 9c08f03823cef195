"""Training loss."""

from __future__ import annotations

from mindspore import Tensor, ops


def soft_cross_entropy(logits_BK: Tensor, targets_BK: Tensor) -> Tensor:
    """Mean over the batch of -Σ target · log softmax(logits); smoothing and mixing are in the targets already."""
    return -(targets_BK * ops.log_softmax(logits_BK, -1)).sum(axis=-1).mean()
