"""The codebook of BEiT v2's tokenizer: unit vectors that follow what they stand for.

Sources: Peng et al., BEiT v2 (arXiv 2208.06366), section 2.2; van den Oord et al. (arXiv
1711.00937), appendix A.1, for the exponential averages; unilm/beit2 norm_ema_quantizer.py. As
there, a code that stands for nothing stays where it is: none is drawn anew.
"""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

# B batch · P patches · R patches of a batch · D width of a code · V vocabulary

LEAST_NORM = 1e-12
KMEANS_ITERATIONS = 10
CHUNK = 4096  # vectors whose products with all codes are in memory at a time


class VectorQuantizer(nn.Cell):
    """(B, P, D) vectors -> the nearest codes of the same shape, (B,) what an image pays for
    the distance, and (B, P) int32 tokens.

    The gradient passes a code as if it were the vector, of length 1, that it stands for; the codes
    get none: `CodebookUpdate` moves them. The price is `beta` times the mean squared error.
    """

    def __init__(self, vocabulary: int, width: int, *, beta: float) -> None:
        super().__init__()
        zeros = (np.zeros((vocabulary, width), np.float32), np.zeros(vocabulary, np.float32))
        self.codes = Parameter(Tensor(zeros[0]), name="codes", requires_grad=False)
        self.usage = Parameter(Tensor(zeros[1]), name="usage", requires_grad=False)
        self.beta = beta

    def construct(self, x_BPD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        unit_BPD = normalised(x_BPD)
        unit_RD = ops.reshape(unit_BPD, (-1, x_BPD.shape[2]))
        # Of vectors of length 1 the nearest is the one with the largest product
        tokens_R = ops.argmax(ops.matmul(unit_RD, self.codes.T), 1).astype(ms.int32)
        nearest_BPD = ops.reshape(ops.gather(self.codes, tokens_R, 0), x_BPD.shape)
        nearest_BPD = ops.stop_gradient(nearest_BPD)
        price_B = self.beta * ops.square(nearest_BPD - unit_BPD).mean(axis=(1, 2))
        passed_BPD = unit_BPD + ops.stop_gradient(nearest_BPD - unit_BPD)
        return passed_BPD, price_B, ops.reshape(tokens_R, x_BPD.shape[:2])


class CodebookUpdate(nn.Cell):
    """Move the codes to what they stand for in a batch over all ranks, and average how often they
    are used: each by `decay` old + (1 - decay) new.

    A code's new place is the direction of the sum of its unit vectors, and the average is brought
    to length 1 again.
    """

    def __init__(self, quantizer: VectorQuantizer, *, decay: float, ranks: int) -> None:
        super().__init__(auto_prefix=False)
        self.codes = quantizer.codes
        self.usage = quantizer.usage
        self.decay = decay
        self.sum_over_ranks = ops.AllReduce() if ranks > 1 else None

    def construct(self, x_BPD: Tensor, tokens_BP: Tensor) -> Tensor:
        """-> (V,) how often each code was used."""
        vocabulary, width = self.codes.shape
        unit_RD = ops.reshape(normalised(x_BPD), (-1, width))
        tokens_R = ops.reshape(tokens_BP, (-1,))
        sums_VD = ops.unsorted_segment_sum(unit_RD, tokens_R, vocabulary)
        ones_R = ops.ones_like(tokens_R).astype(ms.float32)
        counts_V = ops.unsorted_segment_sum(ones_R, tokens_R, vocabulary)
        if self.sum_over_ranks is not None:
            sums_VD, counts_V = self.sum_over_ranks(sums_VD), self.sum_over_ranks(counts_V)
        is_used_V1 = ops.reshape(counts_V > 0, (-1, 1))
        places_VD = ops.where(is_used_V1, normalised(sums_VD), self.codes)
        codes_VD = normalised(self.decay * self.codes + (1 - self.decay) * places_VD)
        usage_V = self.decay * self.usage + (1 - self.decay) * counts_V
        counts_V = ops.depend(counts_V, ops.assign(self.codes, codes_VD))
        return ops.depend(counts_V, ops.assign(self.usage, usage_V))


def normalised(x: Tensor) -> Tensor:
    """The same directions, of length 1 along the last axis."""
    squares = ops.square(x).sum(axis=-1, keepdims=True)
    return x * ops.rsqrt(ops.maximum(squares, LEAST_NORM**2))


def start_codes(samples_RD: np.ndarray, vocabulary: int, rng: np.random.Generator) -> np.ndarray:
    """(V, D) codes to begin with: the k-means of vectors of length 1, from as many of these.

    All ranks must be given the vectors of all, in one order, and equal generators.
    """
    is_enough = len(samples_RD) >= vocabulary
    chosen = rng.choice(len(samples_RD), vocabulary, replace=not is_enough)
    return spherical_kmeans(samples_RD, samples_RD[chosen])


def spherical_kmeans(samples_RD: np.ndarray, codes_VD: np.ndarray) -> np.ndarray:
    """(V, D) float32 codes after ten times moving each to the direction of the sum of the vectors
    that are nearest to it; one that none is nearest to stays.
    """
    chunks = range(0, len(samples_RD), CHUNK)
    for _ in range(KMEANS_ITERATIONS):
        tokens_R = np.concatenate(
            [(samples_RD[first : first + CHUNK] @ codes_VD.T).argmax(axis=1) for first in chunks]
        )
        sums_VD = np.zeros_like(codes_VD)
        np.add.at(sums_VD, tokens_R, samples_RD)
        norms_V1 = np.maximum(np.linalg.norm(sums_VD, axis=1, keepdims=True), LEAST_NORM)
        is_used_V1 = np.bincount(tokens_R, minlength=len(codes_VD))[:, None] > 0
        codes_VD = np.where(is_used_V1, sums_VD / norms_V1, codes_VD)
    return codes_VD.astype(np.float32)
