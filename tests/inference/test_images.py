"""The images that a task is pointed at."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from PIL import Image

from beit_exp.config.schema import Config
from beit_exp.errors import UserError
from beit_exp.inference.images import open_images


def config(images: Path) -> Config:
    return Config.model_construct(images=str(images))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with two images and something else."""
    folder = tmp_path / "pictures"
    (folder / "b").mkdir(parents=True)
    for name in ("b/1.png", "a.png"):
        Image.new("RGB", (4, 4)).save(folder / name)
    (folder / "readme.txt").write_text("no image")
    return folder


def test_images_of_a_folder_stand_in_path_order_under_their_paths(
    pictures: Path, tmp_path: Path
) -> None:
    with open_images(config(pictures), tmp_path) as (images, names):
        assert names == images.paths == [str(pictures / "a.png"), str(pictures / "b" / "1.png")]
        assert images.labels.tolist() == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_images_of_a_tar_have_its_names_and_are_gone_afterwards(
    pictures: Path, tmp_path: Path
) -> None:
    archive, run_dir = tmp_path / "pictures.tar", tmp_path / "run"
    run_dir.mkdir()
    with tarfile.open(archive, "w") as tar:
        tar.add(pictures, "some")
    with open_images(config(archive), run_dir) as (images, names):
        assert names == ["some/a.png", "some/b/1.png"]
        assert all(Image.open(path).size == (4, 4) for path in images.paths)
        unpacked = [path.name for path in run_dir.rglob("*") if path.is_file()]
        assert sorted(unpacked) == ["1.png", "a.png"]
    assert list(run_dir.iterdir()) == []


def test_a_tar_with_an_image_outside_of_it_is_refused_and_leaves_nothing(
    pictures: Path, tmp_path: Path
) -> None:
    archive, run_dir = tmp_path / "bad.tar", tmp_path / "run"
    run_dir.mkdir()
    with tarfile.open(archive, "w") as tar:
        tar.add(pictures / "a.png", "../a.png")
    with (
        pytest.raises(UserError, match=r"holds '\.\./a\.png', which is outside of it"),
        open_images(config(archive), run_dir),
    ):
        pass
    assert list(run_dir.iterdir()) == []


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with (
        pytest.raises(UserError, match=r"the folder holds no image \(.jpg, "),
        open_images(config(tmp_path / "empty"), tmp_path),
    ):
        pass
