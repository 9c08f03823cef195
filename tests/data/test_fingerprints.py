from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest
from flawed_images import draw
from PIL import Image

from beit_exp.data.fingerprints import (
    CHUNK,
    difference_hash,
    mean_colors,
    reduce_image,
    take_fingerprints,
)


def bits_between(one: Image.Image, other: Image.Image) -> int:
    hashes = [difference_hash(reduce_image(image)) for image in (one, other)]
    return bin(hashes[0] ^ hashes[1]).count("1")


def test_the_hash_tells_where_the_left_is_lighter(photo: Image.Image) -> None:
    ramp = Image.linear_gradient("L").rotate(90).convert("RGB")  # dark on the left
    mirrored = ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert difference_hash(reduce_image(ramp)) == 0
    assert difference_hash(reduce_image(mirrored)) == 2**64 - 1
    assert bits_between(photo, photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) > 30


@pytest.mark.parametrize("size", [(160, 120), (150, 113), (80, 60), (320, 240)])
def test_the_hash_survives_another_size(photo: Image.Image, size: tuple[int, int]) -> None:
    assert bits_between(photo, photo.resize(size)) <= 4


def test_a_plain_image_has_no_bits_and_its_own_color() -> None:
    reduced = reduce_image(Image.new("RGB", (50, 40), (200, 100, 0)))
    assert difference_hash(reduced) == 0
    assert mean_colors(reduced).reshape(16, 3).tolist() == [[200, 100, 0]] * 16


def test_a_file_is_read_with_its_digest_size_mode_and_format(tmp_path: Path) -> None:
    draw(0).convert("L").save(tmp_path / "a.jpg")
    draw(1).convert("P").save(tmp_path / "b.png")
    paths = [str(tmp_path / name) for name in ("a.jpg", "b.png")]
    found, complaints = take_fingerprints(paths, workers=2)
    assert complaints == {}
    assert found["digest"][0] == hashlib.sha256((tmp_path / "a.jpg").read_bytes()).digest()
    assert found[["width", "height", "mode", "format"]].tolist() == [
        (96, 80, b"L", b"JPEG"),
        (96, 80, b"P", b"PNG"),
    ]


def test_a_file_that_cannot_be_read_is_named_by_its_number(tmp_path: Path) -> None:
    draw(0).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes((tmp_path / "good.png").read_bytes()[:100])
    paths = [str(tmp_path / "good.png")] * (CHUNK + 3) + [str(tmp_path / "bad.png")]
    found, complaints = take_fingerprints(paths, workers=2)
    assert list(complaints) == [CHUNK + 3]
    assert complaints[CHUNK + 3].startswith(f"{tmp_path}/bad.png cannot be read as an image: ")
    assert (found["width"] > 0).tolist() == [True] * (CHUNK + 3) + [False]


def test_what_is_no_image_is_named_by_its_path_alone(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_bytes(b"<html>not found</html>")
    _, complaints = take_fingerprints([str(tmp_path / "page.png")], workers=1)
    kinds = "BMP, JPEG, PNG, PPM, TIFF, WEBP"
    verdict = f"cannot be read as an image: it is no image of the kinds {kinds}"
    assert complaints == {0: f"{tmp_path}/page.png {verdict}"}


def test_a_member_of_a_tar_has_the_fingerprint_of_its_file(tmp_path: Path) -> None:
    draw(0).save(tmp_path / "a.png")
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        tar.add(tmp_path / "a.png", "cat/a.png")
    paths = [str(tmp_path / "a.png"), str(tmp_path / "train.tar" / "cat" / "a.png")]
    found, complaints = take_fingerprints(paths, workers=1)
    assert complaints == {} and found[0].tobytes() == found[1].tobytes()


def test_no_files_have_no_fingerprints() -> None:
    found, complaints = take_fingerprints([], workers=1)
    assert len(found) == 0 and complaints == {}
