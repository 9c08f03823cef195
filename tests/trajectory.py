"""The thirty steps of training whose course torch has written down (tests/golden/README.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import mindspore as ms
import numpy as np
from settings import GOLDEN, make_config

from beit_exp.config.schema import Config
from beit_exp.data.mixup import soft_targets
from beit_exp.model.beit import BEiT
from beit_exp.model.build import build_model
from beit_exp.model.precision import Precision, build_precision
from beit_exp.optim.schedule import build_schedule, build_weight_decays
from beit_exp.optim.update import build_optimizer
from beit_exp.train.loss_scale import LossScale
from beit_exp.train.losses import Classification
from beit_exp.train.step import Trainer
from beit_exp.weights.load import load_trained
from beit_exp.weights.names import to_official

FLOAT32 = build_precision("O0", half=ms.float32)


@dataclass(frozen=True)
class Trajectory:
    """What thirty steps found, and where they ended."""

    losses: np.ndarray
    norms: np.ndarray
    final: dict[str, np.ndarray]  # official name -> parameter
    skipped: int


def overrides_of(golden: dict[str, Any]) -> list[str]:
    """Our settings for a reference model's."""
    return [
        f"model.image_size={golden['img_size']}",
        f"model.patch_size={golden['patch_size']}",
        f"model.embed_dim={golden['embed_dim']}",
        f"model.depth={golden['depth']}",
        f"model.num_heads={golden['num_heads']}",
        f"model.rel_pos_bias={golden.get('use_rel_pos_bias', False)}",
        f"model.shared_rel_pos_bias={golden.get('use_shared_rel_pos_bias', False)}",
        f"model.abs_pos_emb={golden['use_abs_pos_emb']}",
        f"model.layer_scale_init_value={golden['init_values']}",
        f"model.pooling={'mean' if golden['global_pool'] == 'avg' else 'cls'}",
    ]


def build_reference(
    folder: str, golden: dict[str, Any], file: str, *extra: str, precision: Precision = FLOAT32
) -> tuple[Config, BEiT]:
    """A reference's network with its weights, and its settings."""
    cfg = make_config(*overrides_of(golden), *extra)
    network = build_model(cfg.model, num_classes=10, precision=precision, seed=0)
    load_trained(network, str(GOLDEN / folder / file))
    return cfg, network


def trajectory_reference() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Torch's settings, and its inputs and results."""
    folder = GOLDEN / "trajectory"
    return json.loads((folder / "config.json").read_text()), dict(np.load(folder / "reference.npz"))


def schedule_of(cfg: Config, golden: dict[str, Any]) -> np.ndarray:
    steps, warmup_steps = golden["steps"], golden["warmup_steps"]
    return build_schedule(
        cfg.scheduler,
        peak_lr=golden["base_lr"],
        epochs=steps // warmup_steps,
        steps_per_epoch=warmup_steps,
    )


def trajectory_config(golden: dict[str, Any]) -> Config:
    return make_config(
        *overrides_of(golden["model"]),
        f"optimizer.base_lr={golden['base_lr']}",
        f"optimizer.layer_decay={golden['layer_decay']}",
        f"optimizer.weight_decay={golden['weight_decay']}",
        f"optimizer.clip_global_norm_value={golden['clip_global_norm']}",
        f"scheduler.min_lr={golden['min_lr']}",
        "scheduler.warmup_length=1",
    )


def train(precision: Precision = FLOAT32, *, skip: int | None = None) -> Trajectory:
    """Thirty steps by a dynamic loss scale; that of step `skip` is so large that it overflows."""
    golden, inputs = trajectory_reference()
    cfg = trajectory_config(golden)
    _, network = build_reference("trajectory", golden["model"], "init.pth", precision=precision)
    schedule = schedule_of(cfg, golden)
    trainer = Trainer(
        Classification(network),
        build_optimizer(cfg.optimizer, network, depth=cfg.model.depth),
        cfg.train,
        schedule=schedule,
        weight_decays=build_weight_decays(cfg.optimizer, total_steps=len(schedule)),
        loss_scale=LossScale(1024.0, True, 1000),
        clip_norm=cfg.optimizer.clip_global_norm_value,
    )
    losses, norms = [], []
    for step, (images, labels) in enumerate(zip(inputs["images"], inputs["labels"], strict=True)):
        normalised = (images.astype(np.float32) / 255 - golden["mean"]) / np.float32(golden["std"])
        targets = soft_targets(labels, num_classes=10, smoothing=golden["label_smoothing"])
        scale = trainer.loss_scale.value
        trainer.loss_scale.value = 3e38 if step == skip else scale
        result = trainer([(normalised.astype(np.float32), targets, None)])
        if step == skip:
            assert not result.finite
            trainer.loss_scale.value = scale
            continue
        losses.append(result.loss)
        norms.append(result.grad_norm)
    final = {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}
    return Trajectory(np.array(losses), np.array(norms), to_official(final), trainer.skipped_steps)
