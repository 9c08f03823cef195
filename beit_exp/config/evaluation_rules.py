"""Laws over the settings of what is measured, and written, of a network that is trained."""

from __future__ import annotations

from beit_exp.config.rule import Rule
from beit_exp.config.traits import task_traits

RESERVED_NAMES = {"train", "val", "test", "best", "optim", "time", "data", "real"}  # of metrics

EVALUATION_RULES = (
    Rule(
        ("benchmark.against", "task", "hardware.device_num", "benchmark.parts"),
        lambda command, task, devices, parts: (
            command is None or (task == "benchmark" and devices == 1 and parts[0] != "update")
        ),
        "must be null but for task=benchmark on one device, whose first part has images",
    ),
    Rule(
        ("evaluation.split", "task"),
        lambda split, task: split == "val" or task == "evaluate",
        "must be val but for task=evaluate",
    ),
    Rule(
        ("evaluation.sets", "task", "dataset.multi_label"),
        lambda sets, task, multi_label: not sets or (task == "evaluate" and not multi_label),
        "must be {} but for task=evaluate of one label an image",
    ),
    Rule(
        ("evaluation.sets",),
        lambda sets: not sets.keys() & RESERVED_NAMES,
        f"must have other names than {', '.join(sorted(RESERVED_NAMES))}",
    ),
    Rule(
        ("evaluation.real_labels", "task", "evaluation.split", "dataset.multi_label"),
        lambda path, task, split, multi_label: (
            path is None or (task == "evaluate" and split == "val" and not multi_label)
        ),
        "must be null but for task=evaluate with evaluation.split=val of one label an image",
    ),
    Rule(
        ("evaluation.flip", "task"),
        lambda flip, task: not flip or task_traits(task).allows_flip,
        "must be false but for task=evaluate and task=predict",
    ),
    Rule(
        ("export.formats", "hardware.device_target", "task"),
        lambda formats, target, task: task != "export" or "air" not in formats or target != "cpu",
        "must not hold air for hardware.device_target=cpu: "
        "MindSpore writes it on an Ascend card alone",
    ),
)
