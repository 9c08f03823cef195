"""What is said before the first step: on what, of what, with what, and for how long."""

from __future__ import annotations

from beit_exp.config.schema import Config
from beit_exp.config.traits import task_traits
from beit_exp.model.cost import forward_flops, parameter_count


def opening(
    cfg: Config,
    *,
    device: str,
    images: dict[str, int],
    weights: str,
    steps_per_epoch: int,
    ranks: int,
) -> str:
    """A short block: device, model, data (`images` by their use), weights, steps; and a note of a
    batch that the learning rate is not meant for.
    """
    *sizes, last = (f"{count:,} {use}" for use, count in images.items())
    epochs, batch = cfg.train.epochs, cfg.train.batch_size
    data = f"{cfg.dataset.name}: {', '.join(sizes)} and {last} images"
    if task_traits(cfg.task).uses_labels:
        data += f" of {cfg.dataset.num_classes:,} classes"
    total = f"{epochs * steps_per_epoch:,} in {epochs} epochs"
    lines = {
        "device": f"{device}, {cfg.hardware.amp_level}",
        "model": model_line(cfg),
        "data": data,
        "weights": weights,
        "steps": f"{steps_per_epoch:,} an epoch, {total}; batches of {batch} images",
    }
    if (note := batch_note(cfg, ranks=ranks)) is not None:
        lines["note"] = note
    return "\n".join(f"{name:10}{text}" for name, text in lines.items())


def batch_note(cfg: Config, *, ranks: int) -> str | None:
    """Which batch `base_lr` is meant for and what makes it fit, where the run's is another one.

    A learning rate scaled linearly with the batch: Goyal et al. (arXiv 1706.02677).
    """
    meant, base_lr = cfg.optimizer.lr_base_size, cfg.optimizer.base_lr
    micro_step = cfg.train.batch_size * ranks
    size = micro_step * cfg.train.accumulate_steps
    if meant is None or meant == size:
        return None
    scaled = (
        f"optimizer.base_lr={base_lr * size / meant:.4g} optimizer.lr_base_size={size} scales it"
    )
    ways = scaled
    if meant % micro_step == 0:
        ways = f"train.accumulate_steps={meant // micro_step} makes {meant:,}, or {scaled}"
    return (
        f"{size:,} images a step, but optimizer.base_lr={base_lr:.4g} is meant for {meant:,} "
        f"(optimizer.lr_base_size): {ways}"
    )


def model_line(cfg: Config) -> str:
    """Name and, of a network for classification, parameters and arithmetic of an image."""
    match cfg.task:
        case "train_tokenizer":
            return f"tokenizer of {cfg.tokenizer.vocabulary:,} tokens"
        case "pretrain":
            return f"{cfg.model.arch}, predicting {cfg.tokenizer.vocabulary:,} tokens"
        case _:
            classes = cfg.dataset.num_classes
            count = parameter_count(cfg.model, num_classes=classes)
            flops = forward_flops(cfg.model, num_classes=classes)
            what = "the head alone is trained" if cfg.train.freeze == "backbone" else "all trained"
            size = f"{count / 1e6:.2f} M parameters ({what})"
            return f"{cfg.model.arch}, {size}, {flops / 1e9:.3g} GFLOPs an image"
