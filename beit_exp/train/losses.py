"""Training losses, and objectives: a network with its loss, from the arrays of a batch to the number to minimise."""

from __future__ import annotations

import mindspore as ms
from mindspore import Tensor, nn, ops

from beit_exp.model.beit import BEiT, MaskedBEiT

# B batch · K classes · L blocks · P patches · M hidden patches of the batch, filled up to a fixed number · V vocabulary


def soft_cross_entropy(logits_BK: Tensor, targets_BK: Tensor) -> Tensor:
    """Mean over the batch of -Σ target · log softmax(logits); smoothing and mixing are in the targets already."""
    return -(targets_BK * ops.log_softmax(logits_BK, -1)).sum(axis=-1).mean()


class Classification(nn.Cell):
    """Images and soft targets -> (cross-entropy,)."""

    measures = ()

    def __init__(self, network: BEiT) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, images_BCSS: Tensor, targets_BK: Tensor, keep_L2B: Tensor | None) -> tuple[Tensor, ...]:
        return (soft_cross_entropy(self.network(images_BCSS, keep_L2B), targets_BK),)


class MaskedPrediction(nn.Cell):
    """Images with hidden patches and these patches' visual tokens -> (cross-entropy, share of tokens found).

    `weights_M` is 1 for a hidden patch and 0 for what fills up: masks differ in their number, shapes may not.
    """

    measures = ("masked_accuracy",)

    def __init__(self, network: MaskedBEiT) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(
        self,
        images_BCSS: Tensor,
        hidden_BP: Tensor,
        places_M: Tensor,
        tokens_M: Tensor,
        weights_M: Tensor,
        keep_L2B: Tensor | None,
    ) -> tuple[Tensor, ...]:
        logits_MV = self.network(images_BCSS, hidden_BP, places_M, keep_L2B)
        found_M1 = ops.gather_elements(ops.log_softmax(logits_MV, -1), 1, ops.reshape(tokens_M, (-1, 1)))
        count = weights_M.sum()
        loss = -(ops.reshape(found_M1, (-1,)) * weights_M).sum() / count
        is_right_M = (ops.argmax(logits_MV, 1).astype(ms.int32) == tokens_M).astype(ms.float32)
        return loss, (ops.stop_gradient(is_right_M) * weights_M).sum() / count
