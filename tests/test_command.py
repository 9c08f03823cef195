"""The command's answers before any work: quick, complete, without a traceback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from settings import GOLDEN, ROOT
from whole_runs import Command

from beit_exp import command
from beit_exp.launch.arguments import program_typed
from beit_exp.launch.composition import CONF

REFUSED = {
    "unknown key": (
        ("optimizer.lrr=1",),
        "optimizer.lrr: there is no such setting. Did you mean optimizer.base_lr?",
    ),
    "key of another group": (
        ("train.base_lr=1",),
        "train.base_lr: there is no such setting. Did you mean optimizer.base_lr?",
    ),
    "unknown top-level key": (("modle=x",), "modle: there is no such setting. Did you mean model?"),
    "unknown option": (
        ("optimizer=adamx",),
        "optimizer = 'adamx': must be one of adam_weight_decay, adamw, momentum. Did",
    ),
    "unknown experiment": (
        ("experiment=imagenet_bse",),
        "pretrain_large. Did you mean imagenet_base?",
    ),
    "wrong type": (("seed=abc",), "seed = 'abc': must be a whole number >= 0"),
    "fraction for a count": (
        ("train.epochs=1.5",),
        "train.epochs = 1.5: must be a whole number > 0",
    ),
    "not a number": (("optimizer.base_lr=nan",), "optimizer.base_lr = nan: must be a number > 0"),
    "out of range": (
        ("optimizer.layer_decay=1.2",),
        "optimizer.layer_decay = 1.2: must be a number > 0 and <= 1",
    ),
    "unknown choice": (("model.pooling=max",), "model.pooling = 'max': must be one of mean, cls"),
    "unknown task": (
        ("task=finetun",),
        "must be one of finetune, pretrain, train_tokenizer, evaluate, predict, explain, export, "
        "check_data, "
        "benchmark. Did you mean finetune?",
    ),
    "text for a list": (
        ("dataset.mean=0.5",),
        "dataset.mean = 0.5: must be a list of 3, each a number",
    ),
    "null where a value is needed": (
        ("model.depth=null",),
        "model.depth = None: must be a whole number > 0",
    ),
    "impossible pair": (
        ("model.image_size=30",),
        "model.image_size = 30: must be a multiple of model.patch_size",
    ),
    "warm-up too long": (("scheduler.warmup_length=99",), "scheduler.warmup_length = 99: plus"),
    "scale without half precision": (
        ("hardware.loss_scale=1024",),
        "hardware.loss_scale = 1024: must be 1 at",
    ),
    "odd batch with mixup": (
        ("augment.mix_up=1", "train.batch_size=7"),
        "train.batch_size = 7: must be even",
    ),
    "policy": (
        ("augment.auto_augment=rand-m99",),
        "augment.auto_augment = 'rand-m99': m is out of range",
    ),
    "value to be given": (
        ("dataset=image_folder", "dataset.num_classes=2"),
        "dataset.data_url is not set",
    ),
    "missing folder": (
        ("experiment=imagenet_base",),
        "the folder ../data/imagenet/train is missing",
    ),
    "missing checkpoint": (
        ("task=evaluate", "checkpoint=nowhere"),
        "checkpoint = 'nowhere': there is no such file",
    ),
    "missing weights": (
        ("model.pretrained=no.pth",),
        "model.pretrained = 'no.pth': there is no such file",
    ),
    "missing images": (
        ("task=predict", f"checkpoint={GOLDEN}", "images=none"),
        "images = 'none': there is no such folder",
    ),
    "checkpoint while training": (("checkpoint=x",), "and be null for any other"),
    "unknown mode": (("augment.mixup_mode=half",), "must be one of batch, pair, elem"),
    "unknown schedule": (
        ("scheduler.name=cosine",),
        "must be one of cosine_lr, constant_lr, exponential_lr, multistep_lr",
    ),
    "falling milestones": (
        ("scheduler.milestones=[9,3]",),
        "scheduler.milestones = [9, 3]: must rise",
    ),
    "crop beyond the image": (
        ("augment.crop_scale=[0.5,2]",),
        "augment.crop_scale = [0.5, 2]: must be two shares",
    ),
    "box without cutmix": (("augment.cutmix_minmax=[0.1,0.2]",), "and needs augment.cutmix > 0"),
    "node beyond the nodes": (
        ("hardware.node_rank=1",),
        "hardware.node_rank = 1: must be less than hardware.node_num",
    ),
    "nodes without a port": (
        ("hardware.node_num=2",),
        "hardware.master_port = None: must be given, the same on every node",
    ),
    "privileged port": (
        ("hardware.master_port=80",),
        "hardware.master_port = 80: must be a whole number > 1023",
    ),
    "nothing gained": (
        ("train.recompute=true",),
        "train.recompute = True: must be false but for hardware.device_target",
    ),
    "copies to a web page": (("train.checkpoint_url=http://x",), "must begin with s3:// or obs://"),
    "change of no setting": (
        ("allow_changes=[epochs]",),
        "allow_changes = ['epochs']: must be full names of settings",
    ),
    "no layer scale": (("model.layer_scale_init_value=0",), "must be a number > 0 or null"),
    "heads": (
        ("model.num_heads=3",),
        "model.embed_dim = 128: must be a multiple of model.num_heads",
    ),
    "two kinds of tables": (("model.shared_rel_pos_bias=true",), "one of the two may be true"),
    "lowest rate above the peak": (
        ("scheduler.min_lr=1",),
        "scheduler.min_lr = 1: must be at most optimizer.base_lr",
    ),
    "objective": (
        ("objective=val/acc",),
        "must be one of val/top1, val/top5, val/loss, best/val/top1",
    ),
    "accuracy without labels": (
        ("experiment=pretrain_digits", "objective=val/top1"),
        "objective = 'val/top1': must be one that the task measures",
    ),
    "masked accuracy with labels": (
        ("objective=val/masked_accuracy",),
        "must be one that the task measures",
    ),
    "no tokenizer": (
        ("experiment=pretrain_base",),
        "tokenizer.weights = None: must name the weights of a tokenizer",
    ),
    "missing tokenizer": (
        ("experiment=pretrain_base", "tokenizer.weights=no.pth"),
        "tokenizer.weights = 'no.pth': there is no such file",
    ),
    "all hidden": (
        ("experiment=pretrain_digits", "mask.num_mask_patches=64"),
        "mask.num_mask_patches = 64: must be less than the number of patches",
    ),
    "mixup without labels": (
        ("experiment=pretrain_digits", "augment.mix_up=0.8"),
        "augment.mix_up = 0.8: must be 0 for task=pretrain and task=train_tokenizer",
    ),
    "two warm-ups": (
        ("scheduler.warmup_steps=10", "scheduler.warmup_length=1"),
        "scheduler.warmup_steps = 10: must be null unless",
    ),
    "colours changed twice": (
        ("augment.color_jitter=0.4", "augment.auto_augment=rand-m9"),
        "augment.color_jitter = 0.4: must be 0 while augment.auto_augment is set",
    ),
    "frozen pre-training": (
        ("experiment=pretrain_digits", "train.freeze=backbone"),
        "train.freeze = 'backbone': must be null for task=pretrain",
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
        "hardware.amp_level = 'O1': must be O0 for task=train_tokenizer",
    ),
    "average of nothing": (
        ("train.ema_decay=1.0",),
        "train.ema_decay = 1.0: must be a number > 0 and < 1 or null",
    ),
    "no spread": (("dataset.std=[0,1,1]",), "dataset.std.0 = 0: must be a number > 0"),
    "Ascend's format on a CPU": (
        ("task=export", f"checkpoint={GOLDEN}", "export.formats=[air]", "hardware=cpu"),
        "export.formats = ['air']: must not hold air for hardware.device_target=cpu",
    ),
    "mirror images in training": (
        ("evaluation.flip=true",),
        "evaluation.flip = True: must be false but for",
    ),
    "unknown hardware": (
        ("hardware=tpu",),
        "hardware = 'tpu': must be one of ascend, ascend_8p, auto, cpu",
    ),
    "processes for one folder": (
        ("task=predict", f"checkpoint={GOLDEN}", "hardware.device_num=2"),
        "hardware.device_num = 2: must be 1 but for tasks that train, task=evaluate and "
        "task=benchmark",
    ),
    "malformed override": (
        ("optimizer.beta=[0.9",),
        "optimizer.beta=[0.9 is no override: no viable",
    ),
    "a word alone": (("finetune",), "finetune is no override: it must be key=value"),
    "no hint that misleads": (
        ("train.class_weights=1",),
        "train.class_weights: there is no such setting.\n",
    ),
    "deletion of nothing": (("~trian.epochs",), "Did you mean train.epochs?"),
    "deletion of a setting": (("~train.epochs",), "train.epochs is not set: it must be a whole"),
    "addition of what is there": (
        ("+train.epochs=3",),
        "the setting is there already, so without the plus: train.epochs=3",
    ),
    "no option": (("optimizer=null",), "optimizer = 'null': must be one of adam_weight_decay"),
    "unknown key in a mapping": (
        ("train={epochz: 3}",),
        "train.epochz: there is no such setting. Did you mean train.epochs?",
    ),
    "value for a section": (("benchmark=3",), "benchmark = 3: must be a group of settings"),
    "several values without a sweep": (
        ("seed=1,2",),
        "seed=1,2: several values are a sweep, which needs -m; as a list it is seed=[1,2]",
    ),
    "unknown setting of Hydra": (("hydra.run.dirr=x",), "Could not override 'hydra.run.dirr'"),
    "sweep over Hydra": (
        ("-m", "hydra.job.name=a,b"),
        "hydra.job.name=a,b: a setting of Hydra's has one value",
    ),
    "unknown launcher": (
        ("hydra/launcher=basik",),
        "hydra/launcher = 'basik': must be one of basic, joblib, submitit_local",
    ),
    "unknown option in a sweep": (
        ("-m", "optimizer=adamw,momentm"),
        "optimizer = 'momentm': must be one of adam_weight_decay, adamw, momentum. Did you",
    ),
    "pattern of no option": (
        ("-m", "experiment=glob(zz*)"),
        "experiment = 'glob(zz*)': matches no option",
    ),
    "wrong value in a sweep": (
        ("-m", "optimizer.layer_decay=0.65,1.5"),
        "1 setting is wrong:\n  optimizer.layer_decay = 1.5: must be a number > 0 and <= 1\n",
    ),
    "wrong value in a large sweep": (
        ("-m", "seed=range(300)", "train.epochs=1,0"),
        "1 setting is wrong:\n  train.epochs = 0: must be a whole number > 0\n",
    ),
    "wrong pair in a sweep": (
        ("-m", "train.batch_size=7,8", "augment.mix_up=0,1"),
        "1 setting is wrong:\n  train.batch_size = 7: must be even",
    ),
    "wrong for every job": (
        ("-m", "seed=1,2", "train.epochs=0"),
        "1 setting is wrong:\n  train.epochs = 0: must be a whole number > 0\n",
    ),
    "wrong with one option of a sweep": (
        ("-m", "scheduler=constant,multistep", "scheduler.milestones=[9,3]"),
        "scheduler.milestones = [9, 3]: must rise",
    ),
    "missing data of every job": (
        ("-m", "experiment=imagenet_base,imagenet_large", "seed=1,2"),
        "dataset.data_url = '../data/imagenet': the folder ../data/imagenet/train is missing",
    ),
    "wrong value of a prepared sweep": (
        ("sweep=base_lr", "optimizer.base_lr=0.1,-1"),
        "1 setting is wrong:\n  optimizer.base_lr = -1: must be a number > 0\n",
    ),
    "wrong value of a search": (
        ("sweep=optuna", "optimizer.base_lr=interval(-1,1)"),
        "1 setting is wrong:\n  optimizer.base_lr = -1.0: must be a number > 0\n",
    ),
}


Call = Callable[..., "Answer"]


@dataclass(frozen=True)
class Answer:
    """What a command said before any work, and the processor's seconds that it took."""

    status: object
    out: str
    err: str
    cpu_s: float


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> Call:
    """The command in this process, because a new one takes a second to start."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for name in (command.PROGRAM, command.LAUNCH):
        monkeypatch.setenv(name, "")  # what is set in this process is taken back

    def answer(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["launch.py", *arguments])
        GlobalHydra.instance().clear()
        started, status = time.process_time(), 0
        try:
            command.main()
        except SystemExit as stop:
            status = stop.code
        return Answer(status, *capfd.readouterr(), time.process_time() - started)

    return answer


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_command_gets_one_clear_message(case: str, tmp_path: Path, call: Call) -> None:
    arguments, message = REFUSED[case]
    done = call(*arguments)
    assert message in done.err
    assert "Traceback" not in done.out + done.err
    assert (done.status, done.out) == (2, "")
    assert done.cpu_s < 1.5
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert list((tmp_path / "here" / "runs").glob("*")) == []
    (tmp_path / "more").mkdir()
    again = call(*arguments, f"--config-dir={tmp_path / 'more'}")
    assert (again.status, again.out, again.err) == (2, "", done.err)


@pytest.fixture
def more(tmp_path: Path) -> Path:
    """A folder of a user's own experiments."""
    folder = tmp_path / "more" / "experiment"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("# @package _global_\noptimizer:\n  base_lr: 0.25\n")
    (folder / "wrong.yaml").write_text("# @package _global_\noptimizer:\n  lrr: 1\nseed: x\n")
    return folder.parent


@pytest.mark.parametrize("place", ["--config-dir={}", "hydra.searchpath=[file://{}]"])
def test_an_experiment_of_ones_own_is_found_and_checked(place: str, more: Path, call: Call) -> None:
    found = call("experiment=mine", place.format(more), "--cfg", "job", "--package", "optimizer")
    assert found.status == 0 and "base_lr: 0.25" in found.out
    wrong = call(place.format(more), "experiment=wrong")
    assert (wrong.status, wrong.err) == (
        2,
        "2 settings are wrong:\n  optimizer.lrr: there is no such setting. Did you mean "
        "optimizer.base_lr?\n  seed = 'x': must be a whole number >= 0\n",
    )
    misspelt = call(place.format(more), "experiment=mein")
    assert misspelt.status == 2 and "Did you mean mine?" in misspelt.err
    swept = call("-m", place.format(more), "experiment=mine,wrong")
    assert (swept.status, swept.err) == (2, wrong.err)


def test_a_folder_of_settings_that_is_not_there_is_named(call: Call) -> None:
    done = call("--config-dir=none", "seed=1")
    assert (done.status, done.err) == (2, "--config-dir=none: there is no such folder\n")


def test_completion_offers_settings_and_is_installed_as_hydra_says(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_LINE", "python launch.py optimizer.")
    done = call("-sc", "query=bash")
    assert done.status == 0 and "optimizer.layer_decay=" in done.out.split()
    monkeypatch.setenv("COMP_LINE", "python launch.py optimizer=")
    assert call("-sc", "query=bash").out.split() == [
        f"optimizer={each}" for each in ("adam_weight_decay", "adamw", "momentum")
    ]
    assert "complete" in call("-sc", "install=bash").out


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("tracking.tags={site: lab}", "--package", "tracking.tags"), "site: lab"),
        (("tracking.tags={owner: me}", "--package", "tracking.tags"), "owner: me"),
        (("tracking.tags.site=lab", "--package", "tracking.tags"), "site: lab"),
        (("train={epochs: 3}", "--package", "train.epochs"), "3"),
        (("~train.epochs", "--package", "train"), "train\nbatch_size: 64"),
        (("dataset.data_url=a b=(数据)/x", "--package", "dataset.data_url"), "a b=(数据)/x"),
        (("dataset.data_url=x", "--package", "dataset.data_url", "--resolve"), "x"),
    ],
)
def test_settings_are_shown_as_they_were_typed(
    arguments: tuple[str, ...], shown: str, call: Call
) -> None:
    done = call(*arguments, "--cfg", "job")
    assert (done.status, done.err) == (0, "")
    assert shown in done.out


def test_hydra_tells_where_it_looked(call: Call, more: Path) -> None:
    done = call(f"--config-dir={more}", "--info", "searchpath")
    assert done.status == 0 and str(more) in done.out + done.err


def test_help_names_tasks_groups_and_settings(call: Call) -> None:
    done = call("--help")
    assert (done.status, done.err) == (0, "")
    assert "\n  adamw              decoupled weight decay, with bias correction\n" in done.out
    assert "\n  finetune         Fine-tuning" in done.out
    assert "\n  objective=val/top1    the metric a sweep compares\n" in done.out
    assert done.out.count("\n  python launch.py ") == 3
    for path in CONF.glob("*/*.yaml"):
        assert f"\n  {path.stem} " in done.out
    assert max(map(len, done.out.splitlines())) <= 100
    assert done.cpu_s < 1.5


def test_help_names_options_of_ones_own(call: Call, more: Path) -> None:
    assert (
        "\n  mine                  optimizer.base_lr 0.25\n"
        in call("--help", f"--config-dir={more}").out
    )


def test_version_is_ours(call: Call) -> None:
    done = call("--version")
    assert (done.status, done.err) == (0, "")
    assert re.fullmatch(r"beit-exp 0\.1\.0( \([0-9a-f]{7,}\))?\n", done.out)


@pytest.mark.parametrize(
    ("typed", "program"),
    [
        ("launch.py", "python launch.py"),
        ("../a clone/launch.py", "python '../a clone/launch.py'"),
        ("/opt/none/bin/beit-exp", "/opt/none/bin/beit-exp"),
        (str(Path(sys.executable).with_name("beit-exp")), "beit-exp"),
    ],
)
def test_printed_commands_begin_with_the_program_as_it_was_typed(
    typed: str, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert program_typed(typed) == program


def test_a_wrong_command_ends_its_process_so(launch: Command) -> None:
    done = launch("optimizer.lrr=1")
    assert done.returncode == 2
    assert done.stderr == (
        "1 setting is wrong:\n  optimizer.lrr: there is no such setting. Did you mean "
        "optimizer.base_lr?\n"
    )
    assert list(launch.folder.iterdir()) == []


def test_a_wrong_sweep_ends_its_process_before_anything_is_made(
    launch: Command, tmp_path: Path, more: Path
) -> None:
    launch.folder = tmp_path / "here"
    launch.folder.mkdir()
    wrong = ("-m", "optimizer.layer_decay=0.65,1.5", "hydra.sweep.dir=a b=(数据)")
    for places in ((), (f"--config-dir={more}", "experiment=mine")):
        done = launch(*wrong, *places)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "1 setting is wrong:\n  optimizer.layer_decay = 1.5: must be a number > 0 and <= 1\n"
        )
        assert list(launch.folder.iterdir()) == []


def test_an_answer_needs_none_of_the_large_libraries(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom beit_exp.command import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert stop.code == 2\n"
        "print(*{'mindspore', 'mlflow', 'numpy', 'PIL', 'matplotlib'} & set(sys.modules))"
    )
    for word in ("--help", "optimizer.lrr=1", "seed=x"):
        shown = subprocess.run(
            [sys.executable, "-c", code, word],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout.splitlines()[-1] == ""


def test_unknown_keys_and_wrong_values_are_reported_together(launch: Command) -> None:
    done = launch("optimizer.lrr=1", "model=beit", "train.epochs=0", "seed=-3")
    assert done.stderr.startswith("4 settings are wrong:")


def test_missing_imagenet_says_how_to_try_the_quickstart(launch: Command) -> None:
    done = launch("experiment=imagenet_base")
    assert "To try the project without it, run the quickstart: python launch.py" in done.stderr


def test_help_and_composition_need_neither_device_nor_store(launch: Command) -> None:
    help_text, job = launch("--help"), launch("experiment=imagenet_base", "--cfg", "job")
    assert help_text.returncode == 0 and "usage: python " in help_text.stdout
    assert "base_lr: 2.0e-05" in job.stdout
    assert list(launch.folder.iterdir()) == []


def test_launching_from_another_folder_finds_the_configuration(launch: Command) -> None:
    assert launch.folder != ROOT and os.path.isabs(launch.folder)
    assert launch("--cfg", "job").returncode == 0
