"""Which patches masked image modelling hides: blocks, until about as many as asked for are hidden.

NumPy only. Sources: Bao et al., BEiT (arXiv 2106.08254), algorithm 1; unilm/beit
masking_generator.py; beit2 for the exact count.
"""

from __future__ import annotations

import numpy as np

TRIES = 10
MIN_ASPECT = 0.3


def block_mask(
    grid: int, *, count: int, min_block: int, is_exact: bool, rng: np.random.Generator
) -> np.ndarray:
    """(G, G) bool, true where a patch is hidden: at most `count` of them.

    They lie in blocks of `min_block` patches or more. With `is_exact` single patches fill up what
    the blocks left (BEiT v2); without, a mask may hold some fewer (v1).
    """
    mask = np.zeros((grid, grid), dtype=bool)
    while (missing := count - int(mask.sum())) > 0:
        if not add_block(mask, min_block=min_block, most=missing, rng=rng):
            break
    if is_exact and missing > 0:
        mask.reshape(-1)[rng.choice(np.flatnonzero(~mask), missing, replace=False)] = True
    return mask


def add_block(mask: np.ndarray, *, min_block: int, most: int, rng: np.random.Generator) -> bool:
    """Hide one more block, which hides between 1 and `most` new patches.

    Returns false if ten draws give none.
    """
    height, width = mask.shape
    limit = np.log(1 / MIN_ASPECT)
    for _ in range(TRIES):
        area = min_block + (most - min_block) * rng.random()  # from whichever is less
        aspect = np.exp(rng.uniform(-limit, limit))
        block_height, block_width = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if block_height >= height or block_width >= width:
            continue
        top = int(rng.integers(0, height - block_height, endpoint=True))
        left = int(rng.integers(0, width - block_width, endpoint=True))
        block = mask[top : top + block_height, left : left + block_width]
        if 0 < block.size - block.sum() <= most:
            block[:] = True
            return True
    return False
