"""The official scripts and documents as a table is read from them: flags, their defaults, lines."""

from __future__ import annotations

import ast
import math
import shlex
from pathlib import Path
from typing import Any

from official_commands import Command

Row = tuple[Any, str]  # a value, and where it stands
DIRECT = {  # flags that say a setting as we do
    "input_size": "model.image_size",
    "abs_pos_emb": "model.abs_pos_emb",
    "drop_path": "model.drop_path_rate",
    "init_scale": "model.head_init_scale",
    "aa": "augment.auto_augment",
    "train_interpolation": "augment.interpolation",
    "reprob": "augment.re_prob",
    "remode": "augment.re_mode",
    "recount": "augment.re_count",
    "mixup": "augment.mix_up",
    "cutmix": "augment.cutmix",
    "cutmix_minmax": "augment.cutmix_minmax",
    "mixup_prob": "augment.mixup_prob",
    "mixup_switch_prob": "augment.switch_prob",
    "mixup_mode": "augment.mixup_mode",
    "smoothing": "augment.label_smoothing",
    "opt": "optimizer.name",
    "opt_eps": "optimizer.eps",
    "momentum": "optimizer.momentum",
    "lr": "optimizer.base_lr",
    "layer_decay": "optimizer.layer_decay",
    "weight_decay": "optimizer.weight_decay",
    "weight_decay_end": "optimizer.weight_decay_end",
    "min_lr": "scheduler.min_lr",
    "epochs": "train.epochs",
    "num_mask_patches": "mask.num_mask_patches",
    "min_mask_patches_per_block": "mask.min_mask_patches_per_block",
    "second_interpolation": "tokenizer.interpolation",
}
MEAN_AND_STD = {
    False: ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
    True: ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
}


class Originals:
    """The files, and the lines that texts stand in."""

    def __init__(self, unilm: Path, timm: Path) -> None:
        self.unilm, self.timm = unilm, timm

    def read(self, name: str) -> str:
        root = self.timm if name.startswith("timm/") else self.unilm
        return (root / name).read_text()

    def at(self, name: str, text: str, value: Any) -> Row:
        """A value that the line with that text says."""
        lines = self.read(name).splitlines()
        number = next(number for number, line in enumerate(lines, start=1) if text in line)
        return value, f"{name}:{number} {text.strip()}"

    def defaults(self, script: str) -> dict[str, Row]:
        """Flag -> default of an argument parser."""
        found: dict[str, Row] = {}
        for node in ast.walk(ast.parse(self.read(script))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            words = {word.arg: word.value for word in node.keywords}
            where = f"{script}:{node.lineno}"
            if node.func.attr == "set_defaults":
                for name, value in words.items():
                    found[str(name)] = (ast.literal_eval(value), f"{where} set_defaults")
            elif node.func.attr == "add_argument" and "dest" not in words:
                flag = ast.literal_eval(node.args[0]).removeprefix("--").replace("-", "_")
                value = words.get("default", ast.Constant("action" in words and False))
                found[flag] = (ast.literal_eval(value), f"{where} --{flag}, default")
        return found

    def typed(self, command: Command) -> dict[str, Row]:
        """Flag -> value of the command in its document, and of what its text adds."""
        lines = self.read(command.document).splitlines()
        words: list[tuple[str, str]] = []
        for number in range(command.first, command.last + 1):
            place = f"{command.document}:{number}"
            words += [(word, place) for word in shlex.split(lines[number - 1].rstrip("\\ "))]
        for text, place in command.more:
            words += [(word, place) for word in shlex.split(text)]
        found: dict[str, Row] = {}
        for index, (word, place) in enumerate(words):
            if not word.startswith("--"):
                continue
            flag, _, joined = word[2:].partition("=")
            after = [text for text, _ in words[index + 1 :]]
            count = next((n for n, text in enumerate(after) if text.startswith("--")), len(after))
            value = joined or " ".join(after[:count]) or "true"
            if flag.startswith("disable_") and flag not in ("disable_eval_during_finetuning",):
                found[flag.removeprefix("disable_")] = (False, f"{place} --{flag}")
            else:
                found[flag] = (literal(value), f"{place} {word} {'' if joined else value}".strip())
        return found

    def network(self, name: str, modelling: str) -> dict[str, Row]:
        """What the function that registers a network says of it."""
        tree = ast.parse(self.read(modelling))
        (function,) = (node for node in tree.body if getattr(node, "name", "") == name)
        call = next(
            node
            for node in ast.walk(function)
            if isinstance(node, ast.Call) and any(word.arg == "embed_dim" for word in node.keywords)
        )
        kept = ("patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio")
        return {
            f"model.{word.arg}": (ast.literal_eval(word.value), f"{modelling}:{word.value.lineno}")
            for word in call.keywords
            if word.arg in kept
        }


def literal(text: str) -> Any:
    if text in ("true", "True"):
        return True
    if len(values := text.split()) > 1:
        return [literal(value) for value in values]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def shared(files: Originals, command: Command, flags: dict[str, Row]) -> dict[str, Row]:
    """What fine-tuning and pre-training have in common."""
    folder = command.script.partition("/")[0]
    rows = {DIRECT[flag]: row for flag, row in flags.items() if flag in DIRECT}
    scale, where = flags["layer_scale_init_value"]
    rows["model.layer_scale_init_value"] = (scale or None, where)
    is_imagenet, where = flags["imagenet_default_mean_and_std"]
    for name, value in zip(("mean", "std"), MEAN_AND_STD[bool(is_imagenet)], strict=True):
        rows[f"dataset.{name}"] = (value, where)
    names = ("nproc_per_node", "batch_size", "update_freq")  # the last of fine-tuning alone
    sizes, places = zip(*(flags[name] for name in names if name in flags), strict=True)
    rows["optimizer.lr_base_size"] = (math.prod(sizes), "; ".join(places))
    steps, where = flags["warmup_steps"]
    rows["scheduler.warmup_steps"] = (steps if steps > 0 else None, where)
    if steps <= 0:
        rows["scheduler.warmup_length"] = flags["warmup_epochs"]
    rows["scheduler.warmup_lr"] = files.at(f"{folder}/utils.py", "start_warmup_value=0,", 0)
    rows["scheduler.name"] = files.at(f"{folder}/utils.py", "def cosine_scheduler(", "cosine_lr")
    return rows
