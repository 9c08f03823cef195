"""Where the official command of each experiment stands in unilm (768a3c8), and what the text around
it changes of it for the weights or the network in question.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """Lines of a command in a document, counted from 1, and flags that the text adds to it."""

    script: str
    document: str
    first: int
    last: int
    more: tuple[tuple[str, str], ...] = ()  # flags, and where they are said


ONE, TWO = "beit/run_class_finetuning.py", "beit2/run_class_finetuning.py"
START, START_2 = (
    f"{folder}/get_started_for_image_classification.md" for folder in ("beit", "beit2")
)
README = "beit/README.md"
PRETRAINING, PROBE = "beit/run_beit_pretraining.py", "beit/run_linear_eval.py"
PRETRAINING_2, TOKENIZER = "beit2/run_beitv2_pretraining.py", "beit2/run_vqkd_training.py"
BASE_PT22K = (ONE, START, 64, 69)
LARGER_IMAGES = f"{START}:41"


def at_size(model: str, size: int) -> tuple[tuple[str, str], ...]:
    return ((f"--model {model} --input_size {size}", LARGER_IMAGES),)


COMMANDS = {
    "imagenet_base": Command(ONE, START, 45, 50),
    "imagenet_base_384": Command(ONE, START, 45, 50, at_size("beit_base_patch16_384", 384)),
    "imagenet_large": Command(ONE, START, 29, 34),
    "imagenet_large_384": Command(ONE, START, 29, 34, at_size("beit_large_patch16_384", 384)),
    "imagenet_large_512": Command(ONE, START, 29, 34, at_size("beit_large_patch16_512", 512)),
    "imagenet_base_pt22k": Command(*BASE_PT22K),
    "imagenet_large_pt22k": Command(ONE, START, 57, 62),
    "imagenet_base_pt1k": Command(
        *BASE_PT22K,
        (
            ("--disable_rel_pos_bias --abs_pos_emb --layer_scale_init_value 0", f"{README}:190"),
            ("--imagenet_default_mean_and_std", f"{README}:119"),
        ),
    ),
    "beitv2_base": Command(TWO, START_2, 22, 44),
    "beitv2_large": Command(TWO, START_2, 60, 82),
    "beitv2_base_pt1k": Command(
        *(TWO, START_2, 22, 44),
        (
            ("--lr 5e-4", f"{START_2}:48"),
            ("--epochs 100", f"{START_2}:49"),
            ("--mixup 0.8", f"{START_2}:50"),
            ("--cutmix 1.0", f"{START_2}:51"),
            ("--layer_decay 0.6", f"{START_2}:52"),
            ("--drop_path 0.2", f"{START_2}:53"),
        ),
    ),
    "beitv2_large_pt1k": Command(
        *(TWO, START_2, 60, 82),
        (
            ("--lr 2e-4", f"{START_2}:86"),
            ("--epochs 50", f"{START_2}:87"),
            ("--mixup 0.8", f"{START_2}:88"),
            ("--cutmix 1.0", f"{START_2}:89"),
            ("--layer_decay 0.8", f"{START_2}:90"),
            ("--drop_path 0.2", f"{START_2}:91"),
        ),
    ),
    "intermediate_base": Command(ONE, README, 179, 185),
    "intermediate_large": Command(ONE, README, 154, 161),
    "linear_probe_base": Command(PROBE, START, 123, 128),
    "pretrain_base": Command(PRETRAINING, README, 105, 109),
    "pretrain_base_1k": Command(PRETRAINING, README, 136, 141),
    "pretrain_large": Command(
        *(PRETRAINING, README, 105, 109),
        (
            ("--model beit_large_patch16_224_8k_vocab", "beit/modeling_pretrain.py:27"),
            ("--layer_scale_init_value 1e-5", f"{README}:120"),
        ),
    ),
    "pretrain_v2_base": Command(PRETRAINING_2, "beit2/PRETRAINING.md", 13, 38),
    "vqkd_base": Command(TOKENIZER, "beit2/TOKENIZER.md", 11, 32),
}
