from __future__ import annotations

import numpy as np
import pytest
from agreement import agree
from PIL import Image
from settings import GOLDEN

from beit_exp.config.augment_policy import parse_policy
from beit_exp.data import randaugment
from beit_exp.data.decoding import pixels_of
from beit_exp.data.randaugment import apply_operation, operations, rand_augment

REFERENCE = np.load(GOLDEN / "randaugment_ops.npz")
CASES = [name for name in REFERENCE.files if name != "input"]
BICUBIC = Image.Resampling.BICUBIC
GREY = (128, 128, 128)


@pytest.mark.parametrize("case", CASES)
def test_operation_is_timms(case: str) -> None:
    name, level, sign = case.split("/")
    found = apply_operation(
        pixels_of(Image.fromarray(REFERENCE["input"])),
        name,
        float(level[1:]),
        sign=-1.0 if sign == "-" else 1.0,
        fill=GREY,
        interpolation=BICUBIC,
    )
    unlike = (found[..., :3] != REFERENCE[case]).any(axis=-1).mean()
    agree("RandAugment operations, share of unlike pixels", unlike, np.zeros(()), within=1e-3)


def test_there_are_fifteen_operations_of_each_kind() -> None:
    increasing, plain = (operations(parse_policy(text)) for text in ("rand-m9-inc1", "rand-m9"))
    assert len(set(increasing)) == len(set(plain)) == 15
    assert "PosterizeIncreasing" in increasing and "Posterize" in plain


def recorded(
    monkeypatch: pytest.MonkeyPatch, text: str, draws: int
) -> list[tuple[str, float, float]]:
    """(operation, magnitude, sign) of every application in many draws."""
    calls: list[tuple[str, float, float]] = []

    def record(pixels, name, magnitude, *, sign, fill, interpolation):
        calls.append((name, magnitude, sign))
        return pixels

    monkeypatch.setattr(randaugment, "apply_operation", record)
    rng, pixels = np.random.default_rng(0), np.zeros((4, 4, 4), np.uint8)
    for _ in range(draws):
        rand_augment(pixels, parse_policy(text), rng=rng, fill=GREY, interpolation="bicubic")
    return calls


def test_each_of_two_drawn_operations_is_applied_with_probability_one_half(monkeypatch) -> None:
    calls = recorded(monkeypatch, "rand-m9-mstd0.5-inc1", 4000)
    assert len(calls) / 8000 == pytest.approx(0.5, abs=0.02)
    counts = np.unique([name for name, _, _ in calls], return_counts=True)[1]
    assert len(counts) == 15 and counts.min() > 0.8 * counts.mean()


def test_operations_are_drawn_with_replacement(monkeypatch) -> None:
    monkeypatch.setattr(randaugment, "APPLY_PROBABILITY", 1.0)
    names = [name for name, _, _ in recorded(monkeypatch, "rand-m9-n2", 2000)]
    twice = np.mean(
        [first == second for first, second in zip(names[::2], names[1::2], strict=True)]
    )
    assert twice == pytest.approx(1 / 15, abs=0.02)


def test_magnitude_is_drawn_anew_each_time_and_clipped(monkeypatch) -> None:
    magnitudes = np.array(
        [magnitude for _, magnitude, _ in recorded(monkeypatch, "rand-m9-mstd0.5", 3000)]
    )
    assert magnitudes.mean() == pytest.approx(9, abs=0.03)
    assert magnitudes.max() == 10.0 and (magnitudes == 10).mean() == pytest.approx(0.023, abs=0.01)
    assert len(np.unique(magnitudes[magnitudes < 10])) == (magnitudes < 10).sum()


def test_magnitude_without_noise_is_constant(monkeypatch) -> None:
    assert {magnitude for _, magnitude, _ in recorded(monkeypatch, "rand-m9", 100)} == {9.0}


def test_signs_are_even(monkeypatch) -> None:
    signs = [sign for _, _, sign in recorded(monkeypatch, "rand-m9", 3000)]
    assert np.mean(signs) == pytest.approx(0, abs=0.05)


def test_random_interpolation_is_drawn_anew_for_every_operation(monkeypatch) -> None:
    """timm data/auto_augment.py, `_interpolation`: random.choice in every operation."""
    filters: list[Image.Resampling] = []

    def record(pixels, _name, _magnitude, *, sign, fill, interpolation):
        filters.append(interpolation)
        return pixels

    monkeypatch.setattr(randaugment, "apply_operation", record)
    monkeypatch.setattr(randaugment, "APPLY_PROBABILITY", 1.0)
    policy, rng = parse_policy("rand-m9-n2"), np.random.default_rng(0)
    pixels = np.zeros((4, 4, 4), np.uint8)
    for _ in range(2000):
        rand_augment(pixels, policy, rng=rng, fill=GREY, interpolation="random")
    is_bicubic = np.array(filters).reshape(2000, 2) == BICUBIC
    assert is_bicubic.mean() == pytest.approx(0.5, abs=0.03)
    assert (is_bicubic[:, 0] == is_bicubic[:, 1]).mean() == pytest.approx(0.5, abs=0.04)


def test_severity_without_increasing_runs_the_other_way(photo: Image.Image) -> None:
    pixels = pixels_of(photo)

    def solarized(name: str, magnitude: float) -> np.ndarray:
        return apply_operation(pixels, name, magnitude, sign=1.0, fill=GREY, interpolation=BICUBIC)[
            ..., :3
        ]

    assert (solarized("Solarize", 10.0) == pixels[..., :3]).all()
    assert (solarized("SolarizeIncreasing", 0.0) == pixels[..., :3]).all()
