"""Learning rate and weight decay of every optimizer step, a table each. NumPy only.

unilm's engines read their tables at the number of the step, also after steps that overflowed and
changed nothing (beit/engine_for_finetuning.py, lines 55 to 65); here these use up no entry.
"""

from __future__ import annotations

import numpy as np
from typing_extensions import assert_never

from beit_exp.config.schema import OptimizerConfig, SchedulerConfig
from beit_exp.errors import UserError


def count_warmup_steps(cfg: SchedulerConfig, *, total_steps: int, steps_per_epoch: int) -> int:
    """`warmup_steps`, or those of `warmup_length` epochs, or else their share of all steps."""
    if cfg.warmup_steps is not None:
        return cfg.warmup_steps
    if cfg.warmup_length is not None:
        return cfg.warmup_length * steps_per_epoch
    return round(cfg.warmup_share * total_steps)


def build_schedule(
    cfg: SchedulerConfig, *, peak_lr: float, epochs: int, steps_per_epoch: int
) -> np.ndarray:
    """(epochs * steps_per_epoch,) float64 learning rates before layer decay.

    Warm-up: `count_warmup_steps`, evenly from `warmup_lr` to `peak_lr`, both included, as
    in unilm/beit utils.py, `cosine_scheduler`. Then, with t steps since the warm-up and T from
    there to the cool-down:
    cosine_lr       min + (peak - min) (1 + cos(π t / T)) / 2
    constant_lr     peak
    exponential_lr  max(min, peak · decay_rate^(epochs since the warm-up / decay_epochs))
    multistep_lr    max(min, peak · decay_rate^(number of milestones passed))
    The last `cooldown_epochs` of `epochs` stay at `min_lr`.
    """
    total_steps = epochs * steps_per_epoch
    warmup_steps = count_warmup_steps(cfg, total_steps=total_steps, steps_per_epoch=steps_per_epoch)
    main_steps = total_steps - warmup_steps - cfg.cooldown_epochs * steps_per_epoch
    if main_steps <= 0:
        raise UserError(
            f"scheduler.warmup_steps = {warmup_steps}: must be less than the {total_steps} steps "
            "of the run, without those of scheduler.cooldown_epochs"
        )
    warmup = np.linspace(cfg.warmup_lr, peak_lr, warmup_steps)
    step = np.arange(main_steps)
    match cfg.name:
        case "cosine_lr":
            main = cosine(peak_lr, cfg.min_lr, main_steps)
        case "constant_lr":
            main = np.full(main_steps, peak_lr)
        case "exponential_lr":
            main = np.maximum(
                cfg.min_lr,
                peak_lr * cfg.decay_rate ** (step / (cfg.decay_epochs * steps_per_epoch)),
            )
        case "multistep_lr":
            epoch = (step + warmup_steps) // steps_per_epoch
            passed = np.searchsorted(np.array(cfg.milestones), epoch, side="right")
            main = np.maximum(cfg.min_lr, peak_lr * cfg.decay_rate**passed)
        case _:
            assert_never(cfg.name)
    cooldown = np.full(total_steps - warmup_steps - main_steps, cfg.min_lr)
    return np.concatenate([warmup, main, cooldown])


def build_weight_decays(cfg: OptimizerConfig, *, total_steps: int) -> np.ndarray:
    """(total_steps,) weight decays, from `weight_decay` to `weight_decay_end` on a cosine.

    As in unilm/beit utils.py, `cosine_scheduler` without warm-up; constant without an end.
    """
    if cfg.weight_decay_end is None:
        return np.full(total_steps, cfg.weight_decay)
    return cosine(cfg.weight_decay, cfg.weight_decay_end, total_steps)


def cosine(start: float, end: float, steps: int) -> np.ndarray:
    """end + (start - end) (1 + cos(π t / T)) / 2 for t = 0 to T - 1."""
    return end + 0.5 * (start - end) * (1 + np.cos(np.pi * np.arange(steps) / steps))
