"""Knowledge distillation into visual tokens: what BEiT v2's tokenizer is trained by.

Sources: Peng et al., BEiT v2 (arXiv 2208.06366), equation 2; unilm/beit2 modeling_vqkd.py,
`calculate_rec_loss` and `forward`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from mindspore import Tensor, nn, ops

from beit_exp.model.vector_quantizer import CodebookUpdate, normalised, start_codes
from beit_exp.model.vqkd import VqkdTokenizer

# B batch · P patches · C width of a code · F width of the teacher's features · S image side


class Comparison(nn.Cell):
    """Images in [0, 1] and the teacher's features of their patches -> (B,) how far the decoded ones
    are from these, (B,) the prices of the codes, (B, P) tokens, (B, P, C) vectors before the codes.

    The distance is the mean over the patches of 1 - cosine.
    """

    def __init__(self, tokenizer: VqkdTokenizer) -> None:
        super().__init__(auto_prefix=False)
        self.tokenizer = tokenizer

    def construct(
        self, images_BCSS: Tensor, target_BPF: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x_BPC = self.tokenizer.encode(images_BCSS)
        codes_BPC, price_B, tokens_BP = self.tokenizer.quantize(x_BPC)
        found_BPF = self.tokenizer.decode(codes_BPC)
        cosine_BP = (normalised(found_BPF) * normalised(target_BPF)).sum(axis=-1)
        return (1 - cosine_BP).mean(axis=1), price_B, tokens_BP, x_BPC


class Distillation(nn.Cell):
    """Images in [0, 1] and the teacher's features -> (loss, distance from these, price of the
    codes), the loss being the sum of both; the codes move, too.

    They move in the forward pass, by what the codes before stand for: also where a step is skipped
    whose gradients are not finite, as in the original.
    """

    measures = ("teacher_distance", "commitment")

    def __init__(self, tokenizer: VqkdTokenizer, *, decay: float, ranks: int) -> None:
        super().__init__(auto_prefix=False)
        self.compare = Comparison(tokenizer)
        self.move_codes = CodebookUpdate(tokenizer.quantize, decay=decay, ranks=ranks)

    def construct(self, images_BCSS: Tensor, target_BPF: Tensor) -> tuple[Tensor, ...]:
        distance_B, price_B, tokens_BP, x_BPC = self.compare(images_BCSS, target_BPF)
        counts_V = self.move_codes(ops.stop_gradient(x_BPC), tokens_BP)
        distance, price = distance_B.mean(), price_B.mean()
        return ops.depend(distance + price, counts_V), distance, price


class UnitVectors(nn.Cell):
    """(B, 3, S, S) images in [0, 1] -> (B, P, C) vectors of length 1, before the codes."""

    def __init__(self, tokenizer: VqkdTokenizer) -> None:
        super().__init__(auto_prefix=False)
        self.tokenizer = tokenizer

    def construct(self, images_BCSS: Tensor) -> Tensor:
        return normalised(self.tokenizer.encode(images_BCSS))


def place_codes(
    tokenizer: VqkdTokenizer,
    images_BCSS: np.ndarray,
    *,
    gather: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
) -> None:
    """Let the codes begin at the k-means of what the encoder makes of a batch of all ranks.

    `gather` is `Runtime.gather`; all ranks take the leader's result.
    """
    vectors_BPC = UnitVectors(tokenizer)(Tensor(images_BCSS)).asnumpy()
    samples_RC = gather(vectors_BPC.ravel()).reshape(-1, vectors_BPC.shape[2])
    codes = tokenizer.quantize.codes
    found_VC = start_codes(samples_RC, codes.shape[0], rng)
    codes.set_data(Tensor(gather(found_VC.ravel())[0].reshape(codes.shape)))
