"""Commands with wrong settings of the data set: case -> (words, what the message must say)."""

from __future__ import annotations

from settings import OFFICIAL

OWN_IMAGES = ("dataset=image_folder", "dataset.data_url=x", "dataset.num_classes=2")
TABLE = (*OWN_IMAGES, "dataset.labels=x.csv")

WRONG_DATA_SETTINGS = {
    "another set in training": (
        ("evaluation.sets.v2=x",),
        "must be {} but for task=evaluate of one label an image",
    ),
    "another set by the name of a split": (
        ("task=evaluate", f"checkpoint={OFFICIAL}", "evaluation.sets.val=x"),
        "must have other names than best, data, optim, real, test, time, train, val",
    ),
    "another set that is not there": (
        ("task=evaluate", f"checkpoint={OFFICIAL}", "evaluation.sets.v2=nowhere"),
        "evaluation.sets.v2 = 'nowhere': there is no such folder or tar",
    ),
    "real labels of a test set": (
        ("task=evaluate", "evaluation.split=test", "evaluation.real_labels=x.json"),
        "evaluation.real_labels = 'x.json': must be null but for task=evaluate with evaluation.spl",
    ),
    "several labels without a table": (
        (*OWN_IMAGES, "dataset.multi_label=true", "objective=val/map"),
        "dataset.multi_label = true: must be false unless dataset.labels names a table",
    ),
    "several labels and one label's objective": (
        (*TABLE, "dataset.multi_label=true"),
        "objective = 'val/top1': must be one of val/map, val/macro_f1, val/micro_f1, val/loss with "
        "dataset.multi_label=true",
    ),
    "one label and several labels' objective": (
        (*TABLE, "objective=val/map"),
        "objective = 'val/map': must be another than val/map and val/micro_f1 without dataset.mult",
    ),
    "several labels of ones own images without a table": (
        ("experiment=own_images", "dataset.data_url=x", "dataset.multi_label=true"),
        "dataset.multi_label = true: must be false unless dataset.labels names a table",
    ),
    "one class for one label": (
        ("dataset=image_folder", "dataset.data_url=x", "dataset.num_classes=1"),
        "dataset.num_classes = 1: must be 2 at the least, but for dataset.multi_label",
    ),
    "several labels and balanced sampling": (
        (*TABLE, "dataset.multi_label=true", "objective=val/map", "train.sampling=balanced"),
        "train.sampling = 'balanced': must be uniform with dataset.multi_label",
    ),
    "several labels and few of each": (
        (*TABLE, "dataset.multi_label=true", "objective=val/map", "dataset.images_per_class=3"),
        "dataset.images_per_class = 3: must be null with dataset.multi_label",
    ),
    "shares of the images that leave none to train on": (
        (*OWN_IMAGES, "dataset.val_fraction=0.5", "dataset.test_fraction=0.5"),
        "dataset.val_fraction = 0.5: plus dataset.test_fraction must be less than 1",
    ),
    "a share of more than all images": (
        (*OWN_IMAGES, "dataset.val_fraction=1.0"),
        "dataset.val_fraction = 1.0: must be a number >= 0 and < 1",
    ),
    "a split of the digits": (
        ("dataset.val_fraction=0.2",),
        "dataset.val_fraction = 0.2: must be 0 for dataset.name=digits",
    ),
    "a test set of the digits": (
        ("dataset.test_fraction=0.2",),
        "dataset.test_fraction = 0.2: must be 0 for dataset.name=digits",
    ),
    "a table of the digits": (
        ("dataset.labels=x.csv",),
        "dataset.labels = 'x.csv': must be null for dataset.name=digits",
    ),
    "a share of the images beside a labelled val/": (
        (*OWN_IMAGES, "dataset.val_fraction=0.2", "dataset.val_labels=x.txt"),
        "dataset.val_fraction = 0.2: must be 0 where dataset.val_labels names the classes",
    ),
    "a table beside a labelled val/": (
        (*OWN_IMAGES, "dataset.labels=x.csv", "dataset.val_labels=x.txt"),
        "dataset.labels = 'x.csv': must be null where dataset.val_labels names the classes",
    ),
    "windows of the digits": (
        ("dataset.shuffle_window=500",),
        "dataset.shuffle_window = 500: must be null for dataset.name=digits",
    ),
    "windows without shuffling": (
        (*OWN_IMAGES, "dataset.shuffle_window=500", "train.shuffle=false"),
        "dataset.shuffle_window = 500: must be null where train.shuffle is false",
    ),
    "windows and balanced sampling": (
        (*OWN_IMAGES, "dataset.shuffle_window=500", "train.sampling=balanced"),
        "dataset.shuffle_window = 500: must be null where train.sampling is balanced",
    ),
    "windows smaller than a batch": (
        (*OWN_IMAGES, "dataset.shuffle_window=50"),
        "dataset.shuffle_window = 50: must be null or at least train.batch_size",
    ),
    "a window of no images": (
        (*OWN_IMAGES, "dataset.shuffle_window=0"),
        "dataset.shuffle_window = 0: must be",
    ),
    "groups without a split": (
        (*OWN_IMAGES, "dataset.groups=folder"),
        "dataset.groups = 'folder': must be null unless dataset.val_fraction, ",
    ),
    "groups of a table that is not there": (
        (*OWN_IMAGES, "dataset.val_fraction=0.2", "dataset.groups=table"),
        "dataset.groups = 'table': must be folder or null unless dataset.labels names a table",
    ),
}
