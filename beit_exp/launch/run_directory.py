"""A run's directory before its worker starts.

The settings are written, or compared with those that are there.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from beit_exp.config.command_line import launch_command, module_command, override
from beit_exp.config.mapping import differences, load_config, save_config
from beit_exp.config.schema import Config
from beit_exp.config.traits import SILENT, task_traits
from beit_exp.data.places import check_folders
from beit_exp.data.pool import is_pooled
from beit_exp.data.sources import open_splits
from beit_exp.errors import MissingExtraError, UserError
from beit_exp.launch.tokenizer_first import FOLDER, trains_tokenizer_first
from beit_exp.optim.schedule import build_schedule
from beit_exp.report.runs import FAILED_FILE
from beit_exp.storage.files import write_atomically
from beit_exp.storage.lock import locking
from beit_exp.storage.remote import is_remote
from beit_exp.tracking.records import SPLIT_FILE, read_records
from beit_exp.weights.ingredients import find_ingredients
from beit_exp.weights.model_settings import are_multi_label
from beit_exp.weights.source import find_source

FREE_ON_RESUME = (*SILENT, "train.keep_checkpoints", "train.checkpoint_url")


ANOTHER_RUN = (  # what makes other tensors of a run's checkpoints, another split or another work
    "task",
    "checkpoint",
    "model.image_size",
    "model.patch_size",
    "model.embed_dim",
    "model.depth",
    "model.num_heads",
    "model.mlp_ratio",
    "model.abs_pos_emb",
    "model.rel_pos_bias",
    "model.shared_rel_pos_bias",
    "model.layer_scale_init_value",
    "model.pooling",
    "mask.early_block",
    "mask.head_blocks",
    "mask.shared_lm_head",
    "tokenizer.kind",
    "tokenizer.vocabulary",
    "tokenizer.hidden",
    "tokenizer.decoder_input",
    "tokenizer.blocks_per_group",
    "tokenizer.embed_dim",
    "tokenizer.depth",
    "tokenizer.decoder_depth",
    "tokenizer.code_width",
    "optimizer.name",
    "dataset.num_classes",
    "dataset.multi_label",
    "dataset.val_fraction",
    "dataset.test_fraction",
    "dataset.folds",
    "dataset.fold",
    "dataset.groups",
    "train.freeze",
    "train.ema_decay",
)


ANSWERING = ("evaluate", "predict", "explain", "export")  # tasks that use a network's head


def check_files(cfg: Config) -> None:
    """Raise `UserError` for missing files and packages before anything heavy starts."""
    needed = {"checkpoint": cfg.checkpoint}
    traits = task_traits(cfg.task)
    if traits.reads_pretrained:
        needed["model.pretrained"] = cfg.model.pretrained
    if cfg.task == "pretrain":
        needed["tokenizer.weights"] = cfg.tokenizer.weights
    if cfg.task == "train_tokenizer" or trains_tokenizer_first(cfg):
        needed["tokenizer.teacher"] = cfg.tokenizer.teacher
    needed["evaluation.real_labels"] = cfg.evaluation.real_labels
    for key, place in needed.items():
        if place is not None and not is_remote(place) and not Path(place).exists():
            raise UserError(f"{key} = {place!r}: there is no such file or run directory")
    for name, place in cfg.evaluation.sets.items():
        if not is_remote(place) and not Path(place).exists():
            raise UserError(f"evaluation.sets.{name} = {place!r}: there is no such folder or tar")
    if cfg.task == "soup":
        find_ingredients(str(cfg.checkpoint), cfg.checkpoint_kind)
    if (
        cfg.task == "export"
        and "onnx" in cfg.export.formats
        and not all(map(find_spec, ("onnx", "onnxruntime")))
    ):
        raise MissingExtraError("export.formats: onnx", "onnx")
    if cfg.images is not None and not Path(cfg.images).exists():
        raise UserError(f"images = {cfg.images!r}: there is no such folder or file")
    if cfg.task in ANSWERING:
        check_labels(cfg, str(cfg.checkpoint))
    if reads_class_folders(cfg):
        check_folders(cfg.dataset)


def reads_class_folders(cfg: Config) -> bool:
    """Whether a task reads `dataset.data_url`, and not the images that it is pointed at."""
    return task_traits(cfg.task).reads_class_folders and cfg.images is None


def check_labels(cfg: Config, place: str) -> None:
    """Raise `UserError` for weights of several labels an image that are to answer with one, or the
    other way round.
    """
    if is_remote(place):
        return
    told = are_multi_label(find_source(place, cfg.checkpoint_kind).path)
    if told not in (None, cfg.dataset.multi_label):
        raise UserError(
            f"dataset.multi_label = {str(cfg.dataset.multi_label).lower()}: must be "
            f"{str(told).lower()}, as {place} was trained"
        )


def check_split_images(cfg: Config) -> None:
    """Raise `UserError` for images of this machine that cannot be split as the settings say."""
    data = cfg.dataset
    is_here = not is_remote(data.data_url) and not (data.labels and is_remote(data.labels))
    if reads_class_folders(cfg) and is_pooled(data) and is_here:
        open_splits(cfg)


def prepare(cfg: Config, run_dir: Path, *, typed: Sequence[str] | None = None) -> bool:
    """Write the configuration; returns whether its run is done.

    A directory that holds another run raises `UserError`: a run is resumed with its own settings,
    but for those that `allow_changes` names and ANOTHER_RUN does not. One whose run died before its
    first checkpoint begins anew with any. `typed` are the overrides of the command, for one that
    can be pasted; None for a job of a sweep.
    """
    path = run_dir / "config.yaml"
    if not path.exists():
        save_config(cfg, path)
        return False
    old = load_config(path)
    differing = {
        key: values
        for key, values in differences(old, cfg).items()
        if not key.startswith(FREE_ON_RESUME)
    }
    allowed = tuple(cfg.allow_changes)
    changed = sorted(key for key in differing if key in ANOTHER_RUN or not key.startswith(allowed))
    effect = change_of_rate(old, cfg, run_dir) if differing else ""
    if differing and died_early(run_dir):
        begin_anew(run_dir)
    elif changed:
        raise UserError(
            refusal(cfg, run_dir, {key: differing[key] for key in changed}, effect, typed)
        )
    elif effect:
        print(effect, flush=True)
    save_config(cfg, path)
    return not differing and has_result(run_dir)


def has_result(run_dir: Path) -> bool:
    """Whether a run is done; one whose result is damaged is gone over again, to the same."""
    path = run_dir / "metrics.json"
    if not path.exists():
        return False
    try:
        if isinstance(json.loads(path.read_bytes()), dict):
            return True
    except ValueError:
        pass
    print(f"{path} is damaged; the run is gone over again", flush=True)
    return False


def refusal(
    cfg: Config,
    run_dir: Path,
    changed: dict[str, tuple[Any, Any]],
    effect: str,
    typed: Sequence[str] | None,
) -> str:
    """Which settings differ from those of the run that is there, and how to go on."""
    is_another = not changed.keys().isdisjoint(ANOTHER_RUN)
    what = ", of other weights or another task" if is_another else ""
    lines = [f"{run_dir} holds another run{what}; it can be resumed with its own settings alone:"]
    lines += [f"  {key}: {old!r} there, {new!r} here" for key, (old, new) in changed.items()]
    lines += [effect] if effect else []
    lines.append(f"To resume it as it is: {module_command('worker', run_dir)}")
    if is_another:
        return "\n".join([*lines, "To begin another: choose another hydra.run.dir"])
    allowed = f"allow_changes=[{','.join(dict.fromkeys([*cfg.allow_changes, *changed]))}]"
    if typed is None:
        lines.append(f"To change them all the same, add to the command: {shlex.quote(allowed)}")
    else:
        words = [word for word in typed if not word.startswith("allow_changes=")]
        command = launch_command(*words, override("hydra.run.dir", run_dir), allowed)
        lines.append(f"To change them all the same: {command}")
    return "\n".join(lines)


def died_early(run_dir: Path) -> bool:
    """Whether a run, with that of its tokenizer, ended before it had anything to go on from."""
    return not any(
        (folder / "metrics.json").exists() or any(folder.glob("checkpoints/step_*"))
        for folder in (run_dir, run_dir / FOLDER)
    )


def begin_anew(run_dir: Path) -> None:
    """Remove what a run that died early recorded; its log stays.

    `UserError` if it is at work and only seems to have died.
    """
    for folder in (run_dir, run_dir / FOLDER):
        check_alone(folder)
    for name in ("metrics.jsonl", "facts.json", "mlflow.json", SPLIT_FILE, FAILED_FILE):
        (run_dir / name).unlink(missing_ok=True)
        (run_dir / FOLDER / name).unlink(missing_ok=True)
    (run_dir / FOLDER / "config.yaml").unlink(missing_ok=True)


def check_alone(run_dir: Path) -> None:
    """Raise `UserError` if a worker is at work in a run directory: it holds a lock on its log."""
    log = run_dir / "launch.log"
    if log.exists():
        with locking(log):
            pass


def change_of_rate(old: Config, new: Config, run_dir: Path) -> str:
    """What other settings do to the learning rate at the step that a run has reached.

    Empty if it is the same, if nothing is saved, or if an epoch has other steps than before.
    """
    steps = [int(path.stem.removeprefix("step_")) for path in run_dir.glob("checkpoints/step_*")]
    records = run_dir / "metrics.jsonl"
    found = [record for record in read_records(records) if record["epoch"]] if steps else []
    is_same_epoch = all(
        getattr(old, section) == getattr(new, section) for section in ("dataset", "hardware")
    ) and all(
        getattr(old.train, name) == getattr(new.train, name)
        for name in ("batch_size", "accumulate_steps")
    )
    if not found or not is_same_epoch:
        return ""
    step, steps_per_epoch = max(steps), round(found[-1]["step"] / found[-1]["epoch"])
    before, after = (rate_at(cfg, step, steps_per_epoch) for cfg in (old, new))
    if before == after:
        return ""
    return f"The learning rate at step {step}, where it goes on: {before} before, {after} now"


def rate_at(cfg: Config, step: int, steps_per_epoch: int) -> str:
    """The learning rate of the step after `step`, as text; of a run at its end, that."""
    try:
        schedule = build_schedule(
            cfg.scheduler,
            peak_lr=cfg.optimizer.base_lr,
            epochs=cfg.train.epochs,
            steps_per_epoch=steps_per_epoch,
        )
    except UserError:
        return "none"
    if step >= len(schedule):
        return f"{schedule[-1]:.3g}, the last,"
    return f"{schedule[step]:.3g}"


def mark_failed(run_dir: Path, code: int, message: str) -> None:
    """Leave in a run directory why there is no result."""
    failure = {"exit_status": code, "message": message}
    write_atomically(run_dir / FAILED_FILE, json.dumps(failure, indent=1).encode())


def last_error(run_dir: Path) -> str | None:
    """The last error that a run's log tells."""
    log = run_dir / "launch.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    found = [line.partition(": ")[2] for line in lines if " ERROR " in line]
    return found[-1] if found else None
