"""From settings to a trainer of any objective."""

from __future__ import annotations

from mindspore import nn

from beit_exp.config.schema import Config
from beit_exp.optim.schedule import build_schedule
from beit_exp.optim.update import build_optimizer
from beit_exp.train.loss_scale import build_loss_scale
from beit_exp.train.step import Trainer


def build_trainer(cfg: Config, objective: nn.Cell, *, steps_per_epoch: int, ranks: int) -> Trainer:
    """A trainer of every trainable parameter of the objective."""
    return Trainer(
        objective,
        build_optimizer(cfg.optimizer, objective, depth=cfg.model.depth),
        schedule=build_schedule(
            cfg.scheduler,
            peak_lr=cfg.optimizer.base_lr,
            epochs=cfg.train.epochs,
            steps_per_epoch=steps_per_epoch,
        ),
        loss_scale=build_loss_scale(cfg.hardware),
        clip_norm=cfg.optimizer.clip_global_norm_value,
        accumulate_steps=cfg.train.accumulate_steps,
        ema_decay=cfg.train.ema_decay,
        ranks=ranks,
    )
