"""Mixup, cutmix and the soft targets of every training batch. NumPy only.

Sources: Zhang et al., mixup (arXiv 1710.09412); Yun et al., CutMix (arXiv 1905.04899); timm
data/mixup.py. Label smoothing happens here and nowhere else, so it cannot be applied twice.
"""

from __future__ import annotations

import numpy as np
from typing_extensions import assert_never

from beit_exp.config.schema import AugmentConfig

Box = tuple[int, int, int, int]  # top, bottom, left, right


def soft_targets(labels: np.ndarray, *, num_classes: int, smoothing: float) -> np.ndarray:
    """(B, K) float32: 1 - s + s/K for the class of each label, s/K for the others."""
    off = smoothing / num_classes
    targets = np.full((len(labels), num_classes), off, dtype=np.float32)
    targets[np.arange(len(labels)), labels] = 1 - smoothing + off
    return targets


def multi_hot_targets(labels: np.ndarray, *, smoothing: float) -> np.ndarray:
    """(B, K) float32 of (B, K) labels: 1 - s/2 for each class of an image, s/2 for the others.

    Source: Keras, losses.BinaryCrossentropy.
    """
    return labels.astype(np.float32) * (1 - smoothing) + smoothing / 2


def mix_batch(
    images: np.ndarray,
    labels: np.ndarray,
    cfg: AugmentConfig,
    *,
    num_classes: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """(B, 3, H, W) images and (B,) or (B, K) labels -> mixed images and (B, K) soft targets.

    The partner of an image is the one at its place in the reversed batch. `batch` draws one mix for
    all images, `elem` one for each, `pair` one for each image and its partner together.
    """
    if labels.ndim == 1:
        targets = soft_targets(labels, num_classes=num_classes, smoothing=cfg.label_smoothing)
    else:
        targets = multi_hot_targets(labels, smoothing=cfg.label_smoothing)
    if cfg.mix_up == 0 and cfg.cutmix == 0:
        return images, targets
    size = len(images)
    if size % 2:
        raise ValueError(f"mixup needs an even batch, got {size} images")
    groups: list[tuple[int, ...]]  # places that share a mix
    match cfg.mixup_mode:
        case "batch":
            lam, box = draw_mix(cfg, images.shape[2:], rng=rng)
            mixed = cutmix(images, box) if box else mixup(images, lam)
            return mixed, mix_targets(targets, np.full(size, lam, dtype=np.float32))
        case "elem":
            groups = [(index,) for index in range(size)]
        case "pair":
            groups = [(index, size - 1 - index) for index in range(size // 2)]
        case _:
            assert_never(cfg.mixup_mode)
    mixed = images.copy()
    lams = np.ones(size, dtype=np.float32)
    for places in groups:
        lam, box = draw_mix(cfg, images.shape[2:], rng=rng)
        for place in places:
            pair = np.stack([images[place], images[size - 1 - place]])
            mixed[place] = (cutmix(pair, box) if box else mixup(pair, lam))[0]
            lams[place] = lam
    return mixed, mix_targets(targets, lams)


def draw_mix(
    cfg: AugmentConfig, size: tuple[int, ...], *, rng: np.random.Generator
) -> tuple[float, Box | None]:
    """The share of the image itself, and the box of a cutmix if it is one.

    (1, None) with probability 1 - `mixup_prob`.
    """
    if rng.random() >= cfg.mixup_prob:
        return 1.0, None
    use_cutmix = rng.random() < cfg.switch_prob if cfg.mix_up and cfg.cutmix else cfg.cutmix > 0
    if not use_cutmix:
        return float(rng.beta(cfg.mix_up, cfg.mix_up)), None
    height, width = size
    if cfg.cutmix_minmax is not None:
        box = draw_minmax_box(height, width, cfg.cutmix_minmax, rng=rng)
    else:
        lam = float(rng.beta(cfg.cutmix, cfg.cutmix))
        box = cutmix_box(height, width, lam, int(rng.integers(height)), int(rng.integers(width)))
    return corrected_lam(box, height, width), box


def mixup(images: np.ndarray, lam: float) -> np.ndarray:
    """lam x + (1 - lam) partner."""
    return (images * np.float32(lam) + images[::-1] * np.float32(1 - lam)).astype(np.float32)


def cutmix(images: np.ndarray, box: Box) -> np.ndarray:
    """Every image with the partner's pixels inside the box."""
    top, bottom, left, right = box
    mixed = images.copy()
    mixed[:, :, top:bottom, left:right] = images[::-1, :, top:bottom, left:right]
    return mixed


def cutmix_box(height: int, width: int, lam: float, center_y: int, center_x: int) -> Box:
    """A box of share 1 - lam around a centre, clipped at the border.

    As in timm 0.3.2, data/mixup.py, `rand_bbox`, by which the recipes were published: twice half a
    side, rounded down. timm 1.0 makes a side of odd length one pixel longer.
    """
    ratio = np.sqrt(1 - lam)
    half_height, half_width = int(height * ratio) // 2, int(width * ratio) // 2
    top, bottom = np.clip([center_y - half_height, center_y + half_height], 0, height)
    left, right = np.clip([center_x - half_width, center_x + half_width], 0, width)
    return int(top), int(bottom), int(left), int(right)


def draw_minmax_box(
    height: int, width: int, minmax: list[float], *, rng: np.random.Generator
) -> Box:
    """A box whose sides are drawn between two shares of the image's, anywhere inside it."""
    low, high = minmax
    box_height = int(
        rng.integers(int(height * low), max(int(height * low) + 1, int(height * high)))
    )
    box_width = int(rng.integers(int(width * low), max(int(width * low) + 1, int(width * high))))
    top = int(rng.integers(0, height - box_height, endpoint=True))
    left = int(rng.integers(0, width - box_width, endpoint=True))
    return top, top + box_height, left, left + box_width


def corrected_lam(box: Box, height: int, width: int) -> float:
    """The share of the image that a clipped box leaves."""
    top, bottom, left, right = box
    return 1 - (bottom - top) * (right - left) / (height * width)


def mix_targets(targets: np.ndarray, lam: np.ndarray) -> np.ndarray:
    """lam t + (1 - lam) partner's t, with one lam per image."""
    share = lam.astype(np.float32)[:, None]
    return targets * share + targets[::-1] * (1 - share)
