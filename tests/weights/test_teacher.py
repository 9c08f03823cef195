from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from agreement import agree
from mindspore import Tensor
from safetensors.numpy import save_file
from settings import GOLDEN, OFFICIAL, make_config
from trajectory import FLOAT32

from beit_exp.config.schema import Config
from beit_exp.errors import UserError
from beit_exp.inference.features import BlockFeatures
from beit_exp.model.build import build_masked_model
from beit_exp.train.checkpoint import save_checkpoint
from beit_exp.weights.read import PREFIX
from beit_exp.weights.teacher import load_teacher

pytestmark = pytest.mark.usefixtures("compiled")
STATE = {"trainer": {"step": 1}, "progress": {"best": {}}}
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]


def taught_by(place: Path, *more: str) -> Config:
    tokenizer = ("tokenizer=vqkd_encoder_base_decoder_1x768x12", f"tokenizer.teacher={place}")
    return make_config(*tokenizer, *more)


def test_a_run_of_ours_teaches_its_last_blocks_patches_after_the_norm(tmp_path: Path) -> None:
    cfg = make_config(
        *("experiment=pretrain_digits", f"dataset.mean={MEAN}", f"dataset.std={STD}"),
        *("model.embed_dim=32", "model.depth=2", "mask.early_block=1", "mask.head_blocks=1"),
    )
    network = build_masked_model(cfg.model, cfg.mask, vocabulary=16, precision=FLOAT32, seed=3)
    rng = np.random.default_rng(0)
    for each in network.get_parameters():
        each.set_data(Tensor(each.asnumpy() + 0.1 * rng.standard_normal(each.shape, np.float32)))
    path = tmp_path / "best.safetensors"
    tensors = {PREFIX + each.name: each for each in network.get_parameters()}
    save_checkpoint(path, tensors, {**STATE, "config": cfg.model_dump()})
    teaching = taught_by(path)
    teacher = load_teacher(teaching.tokenizer, teaching.model, precision=FLOAT32)
    images = rng.random((2, 3, 32, 32), np.float32)
    seen = (images - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    every = BlockFeatures(network, blocks=[1], pooling="tokens")(Tensor(seen.astype(np.float32)))
    expected = network.norm(every[:, 0, 1:]).asnumpy()
    np.testing.assert_allclose(teacher(Tensor(images)).asnumpy(), expected, rtol=1e-4, atol=1e-5)
    assert teacher.width == 32 and list(teacher.trainable_params()) == []


def test_a_file_teaches_as_its_settings_say_it_sees_pixels() -> None:
    images = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)  # of another grid, too
    shifted = []
    for mean in (0.5, 0.0):
        pixels = f"tokenizer.teacher_mean=[{mean},{mean},{mean}]", "tokenizer.teacher_std=[1,1,1]"
        cfg = taught_by(OFFICIAL, "model.image_size=64", *pixels)
        teacher = load_teacher(cfg.tokenizer, cfg.model, precision=FLOAT32)
        shifted.append(teacher(Tensor(images + np.float32(mean))).asnumpy())
    np.testing.assert_allclose(*shifted, rtol=1e-4, atol=1e-5)
    assert shifted[0].shape == (1, 64, teacher.width)


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        (OFFICIAL, r"patches are 8 pixels wide, those of the tokenizer \(model.patch_size\) 16"),
        (GOLDEN / "mim" / "dalle_encoder_state_dict.pth", "cannot teach: it has 0 final norms"),
    ],
)
def test_what_cannot_teach_is_refused(file: Path, complaint: str) -> None:
    cfg = taught_by(file, "model.patch_size=16")
    with pytest.raises(UserError, match=complaint):
        load_teacher(cfg.tokenizer, cfg.model, precision=FLOAT32)


def test_clips_patches_are_those_of_torch(tmp_path: Path) -> None:
    reference = dict(np.load(GOLDEN / "clip.npz"))
    path = tmp_path / "clip.safetensors"
    weights = {name: each for name, each in reference.items() if name.startswith("weights/")}
    save_file({name.removeprefix("weights/"): each for name, each in weights.items()}, path)
    cfg = taught_by(path, "model.image_size=16", "model.patch_size=8")
    teacher = load_teacher(cfg.tokenizer, cfg.model, precision=FLOAT32)
    assert teacher.width == reference["features"].shape[2]
    found = teacher(Tensor(reference["images"])).asnumpy()
    agree("VQ-KD: CLIP's patches", found, reference["features"], within=1e-5)
