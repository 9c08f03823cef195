"""The images that a task is pointed at: a folder, an image, a tar, or the validation set."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from beit_exp.config.schema import Config
from beit_exp.data.image_names import EXTENSIONS, is_image
from beit_exp.data.listing import ImageList, list_images
from beit_exp.errors import UserError
from beit_exp.inference.held_out import open_held_out


@contextmanager
def open_images(cfg: Config, run_dir: Path) -> Iterator[tuple[ImageList, list[str]]]:
    """The images of `cfg.images` in path order, without labels, and what to call each.

    A tar's are unpacked into the run directory as long as this is open, and called as it calls
    them. `UserError` if there is none.
    """
    with tempfile.TemporaryDirectory(dir=run_dir, prefix=".images.") as folder:
        images = find_images(cfg, Path(folder))
        yield images, [path.removeprefix(f"{folder}/") for path in images.paths]


def find_images(cfg: Config, folder: Path) -> ImageList:
    """The images to predict, sorted by path, without labels; a tar's are unpacked to `folder`.

    `cfg.images` is a folder, an image, a tar of images or, if None, the validation set.
    """
    if cfg.images is None:
        paths = open_held_out(cfg, "val").paths
    else:
        place = Path(cfg.images)
        if place.is_file() and tarfile.is_tarfile(place):
            unpack(place, folder)
            place = folder
        paths = [str(place)] if place.is_file() else list_images(place)
    if not paths:
        raise UserError(
            f"images = {cfg.images!r}: the folder holds no image ({', '.join(EXTENSIONS)})"
        )
    return ImageList(sorted(paths), np.zeros(len(paths), np.int32), [])


def unpack(archive: Path, folder: Path) -> None:
    """Write a tar's images, and nothing else that it holds, to a folder under their own names.

    `UserError` if it cannot be read, or names an image outside of it.
    """
    try:
        with tarfile.open(archive) as members:
            for member in members:
                name = Path(member.name)
                if not (member.isfile() and is_image(name.name)):
                    continue
                if name.is_absolute() or ".." in name.parts:
                    raise UserError(
                        f"images: {archive} holds {member.name!r}, which is outside of it"
                    )
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                content = members.extractfile(member)
                assert content is not None
                with (folder / name).open("wb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"images: {archive} cannot be read as a tar: {error}") from error
