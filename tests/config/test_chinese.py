"""Each message of the table, said by the real code, is told in Chinese; nobody else sees that."""

from __future__ import annotations

import errno
import io
import json
from pathlib import Path

import pytest
import real_messages as real
from real_messages import Provoke, Scene, files, typed, with_data
from settings import OFFICIAL
from whole_runs import Command

from beit_exp.config import chinese
from beit_exp.config.chinese import LANGUAGES, bilingual, translated
from beit_exp.config.chinese_words import LAWS, MESSAGES, OTHER_LAW
from beit_exp.config.rules import RULES

TWO = ("train/a/1.png", "train/b/2.png")
HELP = ("usage: ", "# the quickstart", "# your own images", "# a recipe", "# a sweep")
FULL = OSError(errno.ENOSPC, "No space left on device")

# The beginning of a message -> what provokes it
PROVOKED: dict[str, Provoke] = {
    **dict.fromkeys(HELP, real.shown_help),
    "1 setting is wrong:": typed("seed=x"),
    "{count} settings are wrong:": typed("seed=x", "train.epochs=0"),
    "{key}: there is no such setting. Did": typed("optimizer.lrr=1"),
    "{key}: there is no such setting.": typed("train.gradient_noise=1"),
    "{key} is not set": typed("~train.epochs"),
    "{word} is no override: it must": typed("finetune"),
    "{word} is no override: {why}": typed("optimizer.beta=[0.9"),
    "{word}: the setting is there": typed("+train.epochs=3"),
    "{word}: several values are a sweep, which needs -m; as": typed("seed=1,2"),
    "{word}: several values are a sweep, which needs -m": typed("seed=range(1,3)"),
    "{key} = {value}: matches no option": typed("-m", "experiment=glob(zz*)"),
    "{what} needs another package": real.missing_extra,
    "--config-dir=": typed("--config-dir=none", "seed=1"),
    "dataset.data_url = {place}: the folder": with_data(),
    "dataset.data_url = {place}: both": with_data(*TWO, "val/a/3.png", "train.tar"),
    "dataset.data_url = {place}: {split} and": with_data(*TWO, "val/a/3.png", "val/c/4.png"),
    "dataset.data_url = {place}: {folder} holds {count} class folders{named}": real.flat_folder,
    "dataset.data_url = {place}: {folder} holds {count} class folders;": real.no_class_folder,
    "dataset.num_classes = {classes}: {folder} holds {count} class folders. dataset": with_data(
        "train/a/1.png", "val/a/2.png"
    ),
    "dataset.num_classes = {classes}: {folder} holds {count} class folders. It": with_data(
        *TWO, "val/a/2.png"
    ),
    "dataset.{name} = {value}: {place} is there": with_data(
        *TWO, "val/a/3.png", more=("dataset.val_fraction=0.2",)
    ),
    "dataset.labels = {file}: there is no such file": real.labels("none.csv"),
    "dataset.labels = {file}: that is a folder": real.labels("."),
    "the class folder {folder} holds no image": real.empty_class,
    "train.batch_size = {size}: the": real.small_set,
    "{file} cannot be read as an image": real.bad_image,
    "images = {place}: there is no such": files(
        "task=predict", f"checkpoint={OFFICIAL}", "images=none"
    ),
    "images = {place}: the folder holds no image": real.empty_images,
    "{key} = {place}: there is no such file or run": files("model.pretrained=none.pth"),
    "{place} is missing: neither": lambda _: real.told(real.find_source, "none", "best"),
    "{place} holds no checkpoint": real.no_checkpoint,
    "{file} does not fit the network: {what}. With": real.other_network(),
    "{file} does not fit the network: {what}": real.other_network("cls_token"),
    "{place} holds another run; it": real.another_run("seed=7"),
    "{place} holds another run, of other": real.another_run("model.depth=3"),
    "To resume it as it is": real.another_run("seed=7"),
    "To change them all the same": real.another_run("seed=7"),
    "To begin another": real.another_run("model.depth=3"),
    "another process is at work": real.locked,
    "{place} cannot be written": real.unwritable,
    "hardware.device_target = {device}: MindSpore": real.no_device,
    "the disk is full": real.failing(FULL),
    "there is not enough memory": real.failing(MemoryError()),
    "training has diverged": real.diverged,
    "stopped by a signal": real.stopped,
}

# The beginning of a law -> a command that breaks it
BROKEN: dict[str, tuple[str, ...]] = {
    "must be {off} for dataset.name=digits, which": ("dataset.folds=3",),
    "must be {off} for dataset.name=digits": ("dataset.num_classes=9",),
    "must be a multiple of {other}": ("model.image_size=33",),
    "must be at most {other}": ("scheduler.min_lr=1",),
    "must be less than {other}: they": (
        *("dataset=image_folder", "dataset.data_url=x", "dataset.num_classes=2"),
        *("dataset.folds=2", "dataset.fold=2"),
    ),
    "must rise": ("augment.crop_ratio=[2,1]",),
    "must rise, and": ("scheduler.milestones=[9,3]",),
    "must be null or less than the number": ("train.patience=100",),
    "plus {other}": ("scheduler.warmup_length=100",),
    "one of the two": ("model.rel_pos_bias=true", "model.shared_rel_pos_bias=true"),
    "must be even": ("train.batch_size=7", "augment.mix_up=0.8"),
    "must be {off} at hardware.amp_level=O0": ("hardware.loss_scale=2", "hardware.amp_level=O0"),
    "must be {off} but for hardware.device_target": ("hardware=cpu", "train.recompute=true"),
    "must name a run directory or a weights file for task=evaluate": ("task=evaluate",),
    "must be 1 but for tasks that train": ("task=predict", "checkpoint=x", "hardware.device_num=2"),
    "must be {off} for task=pretrain and task=train_tokenizer{why}": (
        *("experiment=pretrain_digits", "train.focal_gamma=2"),
    ),
    "must be {off} for task=pretrain and task=train_tokenizer": (
        *("experiment=pretrain_digits", "train.freeze=backbone"),
    ),
    "must be one weight for each": ("train.class_weights=[1,2]",),
    "must be null or a list where": ("train.class_weights=balanced", "train.sampling=balanced"),
    "must be true where train.sampling": ("train.shuffle=false", "train.sampling=balanced"),
    "must be null unless scheduler.warmup_length": (
        *("scheduler.warmup_steps=3", "scheduler.warmup_length=1"),
    ),
    "must be 0 while augment.auto_augment": (
        *("augment.color_jitter=0.4", "augment.auto_augment=rand-m9"),
    ),
    "must be one that the task measures": ("objective=val/masked_accuracy",),
    "must be false unless dataset.labels": ("dataset.multi_label=true",),
    "must be one of {names} with dataset.multi_label": (
        *("dataset=image_folder", "dataset.data_url=x", "dataset.num_classes=2"),
        *("dataset.labels=x.csv", "dataset.multi_label=true", "objective=val/top1"),
    ),
    "must be {off} where dataset.val_labels": (
        *("dataset=image_folder", "dataset.data_url=x", "dataset.num_classes=2"),
        *("dataset.val_labels=x.txt", "dataset.folds=2"),
    ),
    "must be val but for": ("evaluation.split=test",),
    "must be {off} but for task=evaluate and": ("evaluation.flip=true",),
    "belongs to task=predict": ("images=x",),
    "must be less than the number of patches": (
        *("experiment=pretrain_digits", "mask.num_mask_patches=1000"),
    ),
    "must name the weights of a tokenizer": (
        *("task=pretrain", "objective=val/loss", "augment=pretrain"),
    ),
    "must be 1 for task=train_tokenizer": (
        *("task=train_tokenizer", "objective=val/loss", "tokenizer=small"),
        *("augment=light", "augment.label_smoothing=0", "optimizer.layer_decay=0.5"),
    ),
    "must hold no password": ("tracking.uri=https://me:pa55@host",),
}
TYPES = {
    "seed=x": "须为整数 >= 0",
    "optimizer.layer_decay=1.5": "须为数值 > 0 且 <= 1",
    "train.shuffle=3": "须为 true 或 false",
    "optimizer.beta=[0.9]": "须为列表，项数 2，每项为数值",
    "optimizer=admw": "须为以下之一：adam_weight_decay, adamw, momentum。是否想写 adamw？",
    "task=evalute": "evaluate",
    "benchmark=3": "须为一组设置",
}


@pytest.fixture
def scene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Scene:
    return Scene(tmp_path, monkeypatch, caplog)


@pytest.fixture(autouse=True)
def _asks_for_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LANGUAGES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")


def terminal(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def shown(message: str, encoding: str = "utf-8") -> str:
    return bilingual(message, terminal(encoding))


def pair(beginning: str, table: dict[str, str]) -> tuple[str, str]:
    """The entry of a table that begins so: the shortest, where one begins another."""
    english = min((each for each in table if each.startswith(beginning)), key=len)
    return english, table[english]


def is_told(template: str, text: str) -> bool:
    return chinese._pattern(template).search(text) is not None


@pytest.mark.parametrize("beginning", PROVOKED)
def test_a_message_is_told_in_chinese_below_the_english_one(beginning: str, scene: Scene) -> None:
    english, told = pair(beginning, MESSAGES)
    message = PROVOKED[beginning](scene)
    (line,) = {each for each in message.split("\n") if _is(english, each.strip(), MESSAGES)}
    lines = shown(message).split("\n")
    below = lines[lines.index(line) + 1]
    assert is_told(told, below) and _indent(line) == _indent(below)
    assert [each for each in message.split("\n") if each not in lines] == []


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _is(template: str, line: str, table: dict[str, str]) -> bool:
    """Whether it is this entry of a table that matches a line, and none before it."""
    first = next((each for each in table if chinese._pattern(each).fullmatch(line)), None)
    return first == template


@pytest.mark.parametrize("beginning", BROKEN)
def test_a_broken_law_is_told_in_chinese(beginning: str, scene: Scene) -> None:
    _, told = pair(beginning, LAWS)
    lines = shown(typed(*BROKEN[beginning])(scene)).split("\n")
    assert [line for line in lines if is_told(told, line)] != [], lines


def test_every_entry_is_provoked() -> None:
    assert {pair(each, MESSAGES)[0] for each in PROVOKED} == MESSAGES.keys()
    assert {pair(each, LAWS)[0] for each in BROKEN} == LAWS.keys()


@pytest.mark.parametrize("word", TYPES)
def test_a_value_of_the_wrong_type_is_told_in_chinese(word: str, scene: Scene) -> None:
    lines = shown(typed(word)(scene)).split("\n")
    assert lines[0] == "1 setting is wrong:" and lines[1] == "1 个设置有误："
    assert TYPES[word] in lines[3] and word.partition("=")[0] in lines[3]


def test_a_law_without_chinese_words_points_to_the_english_ones() -> None:
    wrong = []
    for rule in RULES:
        told = translated(f"{rule.keys[0]} = 3: {rule.allowed} (here a.b = 1)") or ""
        is_framed = told.startswith(f"{rule.keys[0]} = 3：") and told.endswith("（此处 a.b = 1）")
        if not is_framed or (OTHER_LAW not in told and rule.allowed in told):
            wrong.append((rule.allowed, told))
    assert wrong == []


def test_what_the_table_does_not_know_stays_as_it_is() -> None:
    assert shown("another message\n  of two lines") == "another message\n  of two lines"


@pytest.mark.parametrize(
    ("environment", "is_read"),
    [
        ({"LANG": "zh_CN.UTF-8"}, True),
        ({"LANG": "zh_TW.UTF-8"}, True),
        ({"LANG": "en_US.UTF-8"}, False),
        ({"LANG": "C"}, False),
        ({"LANG": "C.UTF-8"}, False),
        ({}, False),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, False),
        ({"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}, False),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_CN.UTF-8"}, True),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "zh_CN:en"}, True),
        ({"LANG": "zh_CN.UTF-8", "LANGUAGE": "en_US:zh"}, False),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, True),
    ],
)
def test_chinese_is_for_who_asks_for_it_first(environment: dict[str, str], is_read: bool) -> None:
    assert chinese.reads_chinese(environment) == is_read


@pytest.mark.parametrize(("encoding", "lines"), [("utf-8", 2), ("gbk", 2), ("ascii", 1)])
def test_a_terminal_without_chinese_characters_is_given_none(encoding: str, lines: int) -> None:
    assert len(shown("1 setting is wrong:", encoding).split("\n")) == lines


ANSWERS = {
    "zh_CN.UTF-8": "1 setting is wrong:\n1 个设置有误：\n",
    "en_US.UTF-8": "1 setting is wrong:\n  optimizer.lrr",
    "C": "1 setting is wrong:\n  optimizer.lrr",
}


def asking(tmp_path: Path, language: str, **more: str) -> Command:
    blank = dict.fromkeys(LANGUAGES, "")
    return Command(tmp_path, {**blank, "LANG": language, "PYTHONIOENCODING": "utf-8", **more})


@pytest.mark.parametrize("language", ANSWERS)
def test_the_command_answers_in_the_language_of_the_locale(language: str, tmp_path: Path) -> None:
    done = asking(tmp_path, language)("optimizer.lrr=1")
    assert done.returncode == 2 and done.stderr.startswith(ANSWERS[language])
    assert "Did you mean optimizer.base_lr?" in done.stderr


def test_a_command_on_a_terminal_of_ascii_answers_in_english(tmp_path: Path) -> None:
    done = asking(tmp_path, "zh_CN.UTF-8", PYTHONIOENCODING="ascii")("optimizer.lrr=1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 2) and done.stderr.isascii()
    assert asking(tmp_path, "zh_CN.UTF-8", PYTHONIOENCODING="ascii")("--help").stdout.isascii()


@pytest.mark.slow
def test_a_device_that_is_not_there_is_told_in_chinese_but_not_in_files(tmp_path: Path) -> None:
    done = asking(tmp_path, "zh_CN.UTF-8")("hardware=ascend", "hydra.run.dir=run")
    assert done.returncode == 2 and "找不到这种设备" in done.stdout + done.stderr
    run_dir = tmp_path / "run"
    assert "finds no such device" in json.loads((run_dir / "failed.json").read_text())["message"]
    records = [path.read_text() for path in run_dir.rglob("*.json*")]
    assert [
        text for text in (*records, (run_dir / "launch.log").read_text()) if "设备" in text
    ] == []
