"""Commands with wrong settings of a tokenizer: case -> (words, what the message must say)."""

from __future__ import annotations

from settings import OFFICIAL

TRAINING = ("task=train_tokenizer", "objective=val/loss", "augment=pretrain")
DISTILLING = (*TRAINING, "tokenizer=vqkd_small", f"tokenizer.teacher={OFFICIAL}")

WRONG_TOKENIZER_SETTINGS = {
    "no tokenizer": (
        ("experiment=pretrain_base",),
        "tokenizer.weights = null: must name the weights of a tokenizer",
    ),
    "missing tokenizer": (
        ("experiment=pretrain_base", "tokenizer.weights=no.pth"),
        "tokenizer.weights = 'no.pth': there is no such file",
    ),
    "unknown setting of the tokenizer's run": (
        ("experiment=pretrain_digits", "+tokenizer.training.train.epoch=1"),
        "train.epoch: there is no such setting. Did you mean train.epochs?",
    ),
    "wrong setting of the tokenizer's run": (
        ("experiment=pretrain_digits", "tokenizer.training.train.epochs=0"),
        "tokenizer.training: with it, of the tokenizer's run, 1 setting is wrong",
    ),
    "tokenizer in half precision": (
        ("task=train_tokenizer", "objective=val/loss", "augment=pretrain", "hardware.amp_level=O1"),
        "hardware.amp_level = 'O1': must be O0 for task=train_tokenizer with tokenizer.kind=dvae",
    ),
    "no teacher": (
        (*TRAINING, "tokenizer=vqkd_small"),
        "tokenizer.teacher = null: must name a run directory or a weights file",
    ),
    "no teacher of the tokenizer's run": (
        ("experiment=pretrain_digits_v2",),
        "tokenizer.teacher = null: must name a run directory or a weights file",
    ),
    "missing teacher": (
        (*TRAINING, "tokenizer=vqkd_small", "tokenizer.teacher=no.pth"),
        "tokenizer.teacher = 'no.pth': there is no such file",
    ),
    "a teacher of pixels": (
        (*TRAINING, f"tokenizer.teacher={OFFICIAL}"),
        "must be null but for tokenizer.kind=vqkd",
    ),
    "a teacher's mean alone": (
        (*DISTILLING, "tokenizer.teacher_mean=[0,0,0]"),
        "tokenizer.teacher_mean = [0, 0, 0]: must be null where tokenizer.teacher_std is",
    ),
    "heads of a tokenizer": (
        (*DISTILLING, "tokenizer.num_heads=3"),
        "tokenizer.embed_dim = 64: must be a multiple of tokenizer.num_heads",
    ),
    "micro-steps of codes that move": (
        (*DISTILLING, "train.accumulate_steps=2"),
        "train.accumulate_steps = 2: must be 1 for task=train_tokenizer with tokenizer.kind=vqkd",
    ),
    "averaged weights of other codes": (
        (*DISTILLING, "train.ema_decay=0.9"),
        "train.ema_decay = 0.9: must be null for task=train_tokenizer with tokenizer.kind=vqkd",
    ),
    "unknown kind of tokenizer": (
        ("tokenizer.kind=vqgan",),
        "tokenizer.kind = 'vqgan': must be one of dvae, vqkd",
    ),
}
