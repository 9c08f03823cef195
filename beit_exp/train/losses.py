"""Training losses, and objectives: a network with its loss, from the arrays of a batch to the
number to minimise.
"""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from beit_exp.model.beit import BEiT, MaskedBEiT
from beit_exp.model.visual_tokenizer import VisualTokenizer, map_pixels, unmap_pixels

# B batch · K classes · L blocks · P patches · M hidden patches of the batch, filled up to a fixed
# number · V vocabulary C colours · S image side · G tokens per side

MIN_LN_B = -3.0
LEAST_REST = 1e-6  # of 1 - p: a power below 1 of 0 has no gradient


def soft_cross_entropy(logits_BK: Tensor, targets_BK: Tensor) -> Tensor:
    """Mean over the batch of -Σ target · log softmax(logits); smoothing and mixing are in the
    targets already.
    """
    return -(targets_BK * ops.log_softmax(logits_BK, -1)).sum(axis=-1).mean()


def focal_cross_entropy(logits_BK: Tensor, targets_BK: Tensor, *, gamma: float) -> Tensor:
    """Mean over the batch of -Σ target · (1 - p)^gamma · log p, p = softmax(logits).

    Source: Lin et al. (arXiv 1708.02002), equation 4, for every class by its share of the target.
    """
    log_p_BK = ops.log_softmax(logits_BK, -1)
    rest_BK = ops.maximum(1 - ops.exp(log_p_BK), LEAST_REST)
    return -(targets_BK * ops.pow(rest_BK, gamma) * log_p_BK).sum(axis=-1).mean()


def binary_cross_entropy(
    logits_BK: Tensor, targets_BK: Tensor, positive_weights_K: Tensor, *, gamma: float
) -> Tensor:
    """Mean over images and classes of -w t (1 - p)^gamma log p - (1 - t) p^gamma log(1 - p), with
    p = sigmoid(logits).

    Sources: torch, `BCEWithLogitsLoss` and its `pos_weight`; Lin et al. (arXiv 1708.02002),
    equation 4, for each of the two by its share of the target.
    """
    log_p_BK2 = ops.log_softmax(ops.stack((logits_BK, ops.zeros_like(logits_BK)), -1), -1)
    log_p_BK, log_rest_BK = log_p_BK2[..., 0], log_p_BK2[..., 1]
    found_BK = targets_BK * positive_weights_K * log_p_BK
    other_BK = (1 - targets_BK) * log_rest_BK
    if gamma > 0:
        found_BK = found_BK * ops.pow(ops.maximum(ops.exp(log_rest_BK), LEAST_REST), gamma)
        other_BK = other_BK * ops.pow(ops.maximum(ops.exp(log_p_BK), LEAST_REST), gamma)
    return -(found_BK + other_BK).mean()


class MultiLabelClassification(nn.Cell):
    """Images and targets of each class by itself -> (binary cross-entropy,)."""

    measures = ()

    def __init__(
        self, network: BEiT, *, positive_weights: np.ndarray, focal_gamma: float = 0.0
    ) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.positive_weights_K = Tensor(positive_weights.astype(np.float32))
        self.focal_gamma = focal_gamma

    def construct(
        self, images_BCSS: Tensor, targets_BK: Tensor, keep_L2B: Tensor | None
    ) -> tuple[Tensor, ...]:
        logits_BK = self.network(images_BCSS, keep_L2B)
        weights_K, gamma = self.positive_weights_K, self.focal_gamma
        return (binary_cross_entropy(logits_BK, targets_BK, weights_K, gamma=gamma),)


class Classification(nn.Cell):
    """Images and soft targets -> (cross-entropy,); with a `focal_gamma` above 0 the focal loss."""

    measures = ()

    def __init__(self, network: BEiT, *, focal_gamma: float = 0.0) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.focal_gamma = focal_gamma

    def construct(
        self, images_BCSS: Tensor, targets_BK: Tensor, keep_L2B: Tensor | None
    ) -> tuple[Tensor, ...]:
        logits_BK = self.network(images_BCSS, keep_L2B)
        if self.focal_gamma > 0:
            return (focal_cross_entropy(logits_BK, targets_BK, gamma=self.focal_gamma),)
        return (soft_cross_entropy(logits_BK, targets_BK),)


class MaskedPrediction(nn.Cell):
    """Images with hidden patches and these patches' visual tokens -> (cross-entropy, percent of
    tokens found); of a network that predicts by its class token, too, the sum of both
    cross-entropies, and both percentages.

    `weights_M` is 1 for a hidden patch and 0 for what fills up: masks differ in their number,
    shapes may not. Source of the sum: unilm/beit2 engine_for_pretraining.py, lines 64 to 66.
    """

    def __init__(self, network: MaskedBEiT) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        by_class_token = () if network.early_block is None else ("cls_masked_accuracy",)
        self.measures = ("masked_accuracy", *by_class_token)

    def construct(
        self,
        images_BCSS: Tensor,
        hidden_BP: Tensor,
        places_M: Tensor,
        tokens_M: Tensor,
        weights_M: Tensor,
        keep_L2B: Tensor | None,
    ) -> tuple[Tensor, ...]:
        logits = self.network(images_BCSS, hidden_BP, places_M, keep_L2B)
        loss, accuracy = masked_cross_entropy(logits[0], tokens_M, weights_M)
        if self.network.early_block is None:
            return loss, accuracy
        cls_loss, cls_accuracy = masked_cross_entropy(logits[1], tokens_M, weights_M)
        return loss + cls_loss, accuracy, cls_accuracy


def masked_cross_entropy(
    logits_MV: Tensor, tokens_M: Tensor, weights_M: Tensor
) -> tuple[Tensor, Tensor]:
    """Weighted means of -log softmax(logits) at the tokens, and of the percent that are found."""
    found_M1 = ops.gather_elements(
        ops.log_softmax(logits_MV, -1), 1, ops.reshape(tokens_M, (-1, 1))
    )
    count = weights_M.sum()
    loss = -(ops.reshape(found_M1, (-1,)) * weights_M).sum() / count
    is_right_M = (ops.argmax(logits_MV, 1).astype(ms.int32) == tokens_M).astype(ms.float32)
    return loss, 100 * (ops.stop_gradient(is_right_M) * weights_M).sum() / count


class Autoencoding(nn.Cell):
    """Images in [0, 1] -> (what their description by visual tokens costs, mean squared error of the
    pixels).

    Tokens are drawn by the Gumbel-softmax relaxation: softmax((logits + noise) / temperature). With
    `straight_through` the decoder sees the drawn tokens themselves, and the gradient passes as if
    it had seen the softmax. Source: Ramesh et al. (arXiv 2102.12092), section 2.1 and appendix A;
    the divergence is from the uniform distribution, in nats per token, and the likelihood in nats
    per colour of a pixel.
    """

    measures = ("reconstruction_mse",)

    def __init__(
        self, tokenizer: VisualTokenizer, *, straight_through: bool, kl_weight: float
    ) -> None:
        super().__init__(auto_prefix=False)
        self.tokenizer = tokenizer
        self.straight_through = straight_through
        self.kl_weight = kl_weight

    def construct(
        self, images_BCSS: Tensor, gumbel_BVGG: Tensor, temperature: Tensor
    ) -> tuple[Tensor, ...]:
        images_BCSS = map_pixels(images_BCSS)
        logits_BVGG = self.tokenizer.encoder(images_BCSS)
        vocabulary = logits_BVGG.shape[1]
        drawn_BVGG = (logits_BVGG + gumbel_BVGG) / temperature
        shares_BVGG = ops.softmax(drawn_BVGG, 1)
        if self.straight_through:
            hard_BVGG = ops.one_hot(
                ops.argmax(drawn_BVGG, 1), vocabulary, Tensor(1.0), Tensor(0.0), axis=1
            )
            shares_BVGG = shares_BVGG + ops.stop_gradient(hard_BVGG - shares_BVGG)
        laws_B6SS = self.tokenizer.decoder(shares_BVGG)
        cost_B, error_B = reconstruction(laws_B6SS, images_BCSS)
        loss = cost_B.mean()
        if self.kl_weight > 0:
            log_q_BVGG = ops.log_softmax(logits_BVGG, 1)
            divergence = (
                (ops.exp(log_q_BVGG) * (log_q_BVGG + math.log(vocabulary))).sum(axis=1).mean()
            )
            loss = loss + self.kl_weight * divergence
        return loss, error_B.mean()


class Reconstruction(nn.Cell):
    """(B, 3, S, S) images in [0, 1] -> (B, P) tokens, the images made of them, and (B,) costs and
    squared errors.
    """

    def __init__(self, tokenizer: VisualTokenizer) -> None:
        super().__init__(auto_prefix=False)
        self.tokenizer = tokenizer

    def construct(self, images_BCSS: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        tokens_BP = self.tokenizer(images_BCSS)
        laws_B6SS = self.tokenizer.decode(tokens_BP)
        cost_B, error_B = reconstruction(laws_B6SS, map_pixels(images_BCSS))
        return tokens_BP, unmap_pixels(ops.sigmoid(laws_B6SS[:, :3])), cost_B, error_B


def reconstruction(laws_B6SS: Tensor, mapped_BCSS: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) mean negative log likelihoods of mapped pixels, and (B,) mean squared errors of pixels
    in [0, 1].

    The logit-Laplace density of x is exp(-|logit(x) - μ| / b) / (2 b x (1 - x)). b is at least e⁻³:
    the likelihood of an even area would have no bound.
    """
    mean_BCSS, ln_b_BCSS = laws_B6SS[:, :3], ops.maximum(laws_B6SS[:, 3:], MIN_LN_B)
    logits_BCSS = ops.log(mapped_BCSS / (1 - mapped_BCSS))
    cost_BCSS = (
        ops.abs(logits_BCSS - mean_BCSS) * ops.exp(-ln_b_BCSS)
        + ln_b_BCSS
        + ops.log(2 * mapped_BCSS * (1 - mapped_BCSS))
    )
    error_BCSS = unmap_pixels(ops.sigmoid(mean_BCSS)) - unmap_pixels(mapped_BCSS)
    size = (cost_BCSS.shape[0], -1)
    return ops.reshape(cost_BCSS, size).mean(axis=1), ops.reshape(
        error_BCSS * error_BCSS, size
    ).mean(axis=1)
