"""Random numbers that depend on a key alone: the same draw whatever the worker, the process or the
resume.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

UNUSED = (0, 0, 0)  # counters
NOTHING_DRAWN = (0, 0, 0, 0)  # Philox makes four numbers at a time


class Stream(IntEnum):
    """What a draw is for; each has numbers of its own."""

    order = 1
    sample = 2
    mixup = 3
    drop_path = 4
    weights = 5
    mask = 6
    eval_mask = 7
    gumbel = 8
    subset = 9
    split = 10
    held_out = 11
    few_shot = 12
    codes = 13


def generator(seed: int, stream: Stream, *counters: int) -> np.random.Generator:
    """A generator for one use, say the `counters`-th sample: Philox, whose state is its key and
    counter.

    The first word of the counter is left to the generator itself, which counts its blocks there.
    """
    rng = np.random.Generator(np.random.Philox(0))
    restart(rng, seed, stream, *counters)
    return rng


def restart(rng: np.random.Generator, seed: int, stream: Stream, *counters: int) -> None:
    """Make a generator draw what `generator` of the same arguments does: in a tenth of the time."""
    if len(counters) > 3:
        raise ValueError(f"at most 3 counters fit, got {len(counters)}")
    rng.bit_generator.state = {
        "bit_generator": "Philox",
        "state": {"key": (seed, int(stream)), "counter": (0, *counters, *UNUSED[len(counters) :])},
        "buffer": NOTHING_DRAWN,
        "buffer_pos": len(NOTHING_DRAWN),
        "has_uint32": 0,
        "uinteger": 0,
    }
