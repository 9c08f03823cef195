"""Laws over the settings of a data set: where its classes and its splits come from."""

from __future__ import annotations

from beit_exp.config.rule import Rule
from beit_exp.config.task_name import TaskName
from beit_exp.config.traits import OF_LABELS, OF_LABELS_ALONE, dataset_traits, task_traits


def judges_classes(task: TaskName, objective: str) -> bool:
    """Whether a task chooses by an objective, of labels."""
    traits = task_traits(task)
    return traits.uses_labels and objective in traits.objectives


FRACTIONS = ("dataset.val_fraction", "dataset.test_fraction")

DATA_RULES = (
    Rule(
        ("dataset.num_classes", "dataset.multi_label"),
        lambda classes, multi_label: classes >= 2 or multi_label,
        "must be 2 at the least, but for dataset.multi_label",
    ),
    Rule(
        ("dataset.num_classes", "dataset.name"),
        lambda classes, name: dataset_traits(name).num_classes in (None, classes),
        "must be 10 for dataset.name=digits",
    ),
    Rule(
        ("dataset.val_labels", "dataset.name"),
        lambda labels, name: labels is None or not dataset_traits(name).brings_all,
        "must be null for dataset.name=digits",
    ),
    *(
        Rule(
            (key, "dataset.name"),
            lambda value, name: not value or not dataset_traits(name).brings_all,
            f"must be {off} for dataset.name=digits, which brings its splits",
        )
        for key, off in (
            ("dataset.val_fraction", "0"),
            ("dataset.test_fraction", "0"),
            ("dataset.folds", "null"),
            ("dataset.groups", "null"),
            ("dataset.labels", "null"),
            ("dataset.shuffle_window", "null"),
        )
    ),
    Rule(
        ("dataset.shuffle_window", "train.batch_size"),
        lambda window, batch: window is None or window >= batch,
        "must be null or at least train.batch_size: a batch is of one window or two",
    ),
    Rule(
        ("dataset.shuffle_window", "train.shuffle"),
        lambda window, shuffle: window is None or shuffle,
        "must be null where train.shuffle is false",
    ),
    Rule(
        ("dataset.shuffle_window", "train.sampling"),
        lambda window, sampling: window is None or sampling == "uniform",
        "must be null where train.sampling is balanced, which draws from all images",
    ),
    Rule(
        ("dataset.multi_label", "dataset.labels", "task"),
        lambda multi_label, labels, task: (
            not multi_label or labels is not None or not task_traits(task).reads_class_folders
        ),
        "must be false unless dataset.labels names a table: a class folder is one label",
    ),
    Rule(
        ("objective", "dataset.multi_label", "task"),
        lambda objective, multi_label, task: (
            not multi_label or not judges_classes(task, objective) or objective in OF_LABELS
        ),
        f"must be one of {', '.join(OF_LABELS)} with dataset.multi_label=true",
    ),
    Rule(
        ("objective", "dataset.multi_label", "task"),
        lambda objective, multi_label, task: (
            multi_label or not judges_classes(task, objective) or objective not in OF_LABELS_ALONE
        ),
        f"must be another than {' and '.join(OF_LABELS_ALONE)} without dataset.multi_label=true",
    ),
    *(
        Rule(
            (key, "dataset.multi_label"),
            lambda value, multi_label, off=off: not multi_label or value == off,
            f"must be {text} with dataset.multi_label: an image of one class brings its others",
        )
        for key, off, text in (
            ("dataset.images_per_class", None, "null"),
            ("train.sampling", "uniform", "uniform"),
        )
    ),
    Rule(
        FRACTIONS,
        lambda val, test: val + test < 1,
        "plus dataset.test_fraction must be less than 1: the rest is trained on",
    ),
    *(
        Rule(
            (key, "dataset.val_labels"),
            lambda value, labels: not value or labels is None,
            f"must be {off} where dataset.val_labels names the classes of a val/ that is there",
        )
        for key, off in (
            ("dataset.val_fraction", "0"),
            ("dataset.test_fraction", "0"),
            ("dataset.folds", "null"),
            ("dataset.labels", "null"),
        )
    ),
    Rule(
        ("dataset.val_fraction", "dataset.folds"),
        lambda val, folds: val == 0 or folds is None,
        "must be 0 where dataset.folds says what is validated on",
    ),
    Rule(
        ("dataset.fold", "dataset.folds"),
        lambda fold, folds: fold < (folds or 1),
        "must be less than dataset.folds: they are counted from 0",
    ),
    Rule(
        ("dataset.groups", *FRACTIONS, "dataset.folds", "dataset.labels"),
        lambda groups, val, test, folds, labels: groups is None or any((val, test, folds, labels)),
        "must be null unless dataset.val_fraction, dataset.test_fraction, dataset.folds or "
        "dataset.labels make a split",
    ),
    Rule(
        ("dataset.groups", "dataset.labels"),
        lambda groups, labels: groups != "table" or labels is not None,
        "must be folder or null unless dataset.labels names a table with a column `group`",
    ),
)
