"""For each message that is told in Chinese, too: what makes the real code say it."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from settings import OFFICIAL, TINY, compose, make_config

from beit_exp import worker
from beit_exp.data.build import Shard, TrainStream
from beit_exp.data.decoding import load_pixels
from beit_exp.data.listing import list_classes
from beit_exp.data.places import check_folders
from beit_exp.errors import Interrupted, UserError
from beit_exp.hardware import device
from beit_exp.inference.images import find_images
from beit_exp.launch import overrides
from beit_exp.launch.arguments import hydra_arguments, parse_arguments
from beit_exp.launch.composition import build_lookup
from beit_exp.launch.found_settings import find_settings
from beit_exp.launch.help_text import help_text
from beit_exp.launch.run_directory import check_files, prepare
from beit_exp.storage.files import writing
from beit_exp.storage.lock import locking
from beit_exp.train.loop import Loop
from beit_exp.weights.source import find_source


@dataclass
class Scene:
    """Where a message comes about."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    caplog: pytest.LogCaptureFixture

    def images(self, *names: str) -> Path:
        """A data folder with these (empty) images."""
        for name in names:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).touch()
        return self.folder


Provoke = Callable[[Scene], str]


def told(act: Callable[..., object], *arguments: object, **more: object) -> str:
    with pytest.raises(UserError) as refused:
        act(*arguments, **more)
    return str(refused.value)


def typed(*words: str) -> Provoke:
    """A command with these words, refused before any work."""

    def provoke(_: Scene) -> str:
        return told(lambda: overrides.check_overrides(parse_arguments(hydra_arguments([*words]))))

    return provoke


def shown_help(_: Scene) -> str:
    return help_text(build_lookup(parse_arguments([])))


def own(folder: Path, *more: str) -> list[str]:
    return ["dataset=image_folder", f"dataset.data_url={folder}", "dataset.num_classes=2", *more]


def with_data(*names: str, more: tuple[str, ...] = ()) -> Provoke:
    """A data folder with these images."""

    def provoke(scene: Scene) -> str:
        cfg = make_config(*own(scene.images(*names), *more))
        return told(check_folders, cfg.dataset)

    return provoke


def missing_extra(scene: Scene) -> str:
    scene.monkeypatch.setattr(overrides, "find_spec", lambda _: None)
    return typed("hydra/launcher=joblib")(scene)


def flat_folder(scene: Scene) -> str:
    scene.images("train/cat/a.png", *(f"val/{name}/a.png" for name in "ab"))
    words = own(scene.folder)
    return told(find_settings, compose(*words[:2], "dataset.num_classes=auto"))


def no_class_folder(scene: Scene) -> str:
    scene.images("train/a.png", "val/a.png")
    return told(find_settings, compose(*own(scene.folder)[:2], "dataset.num_classes=auto"))


def labels(place: str) -> Provoke:
    def provoke(scene: Scene) -> str:
        cfg = make_config(*own(scene.folder, f"dataset.labels={scene.folder / place}"))
        return told(check_folders, cfg.dataset)

    return provoke


def empty_class(scene: Scene) -> str:
    scene.images("train/cat/notes.txt")
    return told(list_classes, scene.folder / "train")


def small_set(scene: Scene) -> str:
    listed = list_classes(scene.images("cat/a.png", "dog/b.png"))
    return told(TrainStream, listed, make_config(), Shard(0, 1))


def bad_image(scene: Scene) -> str:
    return told(load_pixels, str(scene.images("a.png") / "a.png"))


def empty_images(scene: Scene) -> str:
    cfg = make_config("task=predict", f"checkpoint={OFFICIAL}", f"images={scene.folder}")
    return told(find_images, cfg, scene.folder)


def files(*words: str) -> Provoke:
    return lambda _: told(check_files, make_config(*words))


def another_run(*words: str) -> Provoke:
    def provoke(scene: Scene) -> str:
        prepare(make_config(), scene.folder)
        (scene.folder / "metrics.jsonl").touch()
        (scene.folder / "checkpoints").mkdir()
        (scene.folder / "checkpoints" / "step_00000001.safetensors").touch()
        return told(prepare, make_config(*words), scene.folder, typed=words)

    return provoke


def locked(scene: Scene) -> str:
    log = scene.folder / "launch.log"
    with locking(log):
        return told(_lock_again, log)


def _lock_again(log: Path) -> None:
    with locking(log):
        pass


def unwritable(scene: Scene) -> str:
    def write() -> None:
        with writing(scene.folder):
            raise PermissionError(errno.EACCES, "Permission denied")

    return told(write)


def no_checkpoint(scene: Scene) -> str:
    return told(find_source, str(scene.folder), "best")


def other_network(*words: str) -> Provoke:
    def provoke(_: Scene) -> str:
        from beit_exp.weights.fit import fit_to
        from beit_exp.weights.read import read_weights

        found = read_weights(OFFICIAL)
        shapes = {name: array.shape for name, array in found.items()}
        shapes |= {name: (3,) for name in words if name in shapes}
        if not words:  # a network of one block more
            shapes |= {
                name.replace("blocks.0.", f"blocks.{_depth(shapes)}."): shape
                for name, shape in shapes.items()
            }
        return told(fit_to, shapes, found, path=OFFICIAL, may_be_new=())

    return provoke


def _depth(shapes: dict[str, tuple[int, ...]]) -> int:
    return 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("blocks."))


def no_device(scene: Scene) -> str:
    import mindspore

    def refuse(*_: object) -> None:
        raise ValueError("the device is not in this build")

    scene.monkeypatch.setattr(mindspore, "set_device", refuse)
    return told(device.start_device, make_config("hardware=ascend").hardware, seed=0)


def failing(error: Exception) -> Provoke:
    """What the worker logs of an error in its work."""

    def provoke(scene: Scene) -> str:
        worker.tell_failure(error, scene.folder)
        return scene.caplog.messages[-1]

    return provoke


def stopped(scene: Scene) -> str:
    def stop(*_: object, **__: object) -> None:
        raise Interrupted(15)

    scene.monkeypatch.setattr(worker, "track_task", stop)
    scene.monkeypatch.setattr(worker, "set_up_logging", lambda *_, **__: None)
    with scene.caplog.at_level(logging.WARNING):
        worker.work(make_config(*TINY), scene.folder)
    return scene.caplog.messages[-1]


def diverged(scene: Scene) -> str:
    loop = SimpleNamespace(
        progress=SimpleNamespace(skipped_in_a_row=1),
        trainer=SimpleNamespace(step=7),
        folder=SimpleNamespace(newest_first=list),
        cfg=make_config(),
    )
    result = SimpleNamespace(loss=float("nan"), grad_norm=float("nan"), loss_scale=1)
    return told(Loop.check_divergence, loop, result)
