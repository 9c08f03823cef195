"""Training of BEiT v2's tokenizer by a small DINO against torch (tests/golden/README.md)."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from agreement import agree
from mindspore import Tensor
from safetensors.numpy import save_file
from settings import GOLDEN, SMALL_VQKD, make_config, part
from trajectory import FLOAT32

from beit_exp.config.schema import Config
from beit_exp.model.vector_quantizer import spherical_kmeans
from beit_exp.model.vqkd import Teacher, VqkdTokenizer
from beit_exp.optim.update import build_optimizer
from beit_exp.train.distillation import Distillation, UnitVectors
from beit_exp.train.loss_scale import LossScale
from beit_exp.train.step import Trainer
from beit_exp.weights.load import set_weights
from beit_exp.weights.teacher import load_teacher
from beit_exp.weights.vqkd import from_official

REFERENCE = dict(np.load(GOLDEN / "vqkd_training.npz"))
STEPS, LR, WEIGHT_DECAY, DECAY = 20, 1e-3, 0.05, 0.9


@pytest.fixture(scope="module")
def settings() -> Config:
    return make_config(
        *SMALL_VQKD,
        "optimizer.beta=[0.9,0.99]",
        f"optimizer.weight_decay={WEIGHT_DECAY}",
        "optimizer.layer_decay=1.0",
    )


@pytest.fixture
def teacher(tmp_path: Path, settings: Config) -> Teacher:
    path = tmp_path / "dino.safetensors"
    save_file(part(REFERENCE, "teacher"), path)
    tokenizer = settings.tokenizer.model_copy(update={"teacher": str(path)})
    return load_teacher(tokenizer, settings.model, precision=FLOAT32)


def build(cfg: Config) -> VqkdTokenizer:
    tokenizer = VqkdTokenizer(
        cfg.tokenizer,
        image_size=cfg.model.image_size,
        patch_size=cfg.model.patch_size,
        feature_width=REFERENCE["target"].shape[-1],
        precision=FLOAT32,
    )
    codes = {"quantize.codes": REFERENCE["kmeans"], "quantize.usage": np.zeros(8, np.float32)}
    arrays = from_official(part(REFERENCE, "init")) | codes
    outcome = set_weights(tokenizer, arrays, path=GOLDEN / "vqkd_training.npz")
    assert len(outcome.loaded) == len(arrays)
    return tokenizer


def test_a_dinos_patches_are_those_of_torch_though_a_key_has_no_bias_here(
    teacher: Teacher,
) -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    assert np.abs(REFERENCE["teacher/blocks.0.attn.qkv.bias"][128:256]).max() > 0.1
    found = teacher(Tensor(REFERENCE["images"][0])).asnumpy()
    agree("VQ-KD: DINO's patches", found, REFERENCE["target"], within=1e-5)


def test_the_codes_begin_where_torchs_do(settings: Config) -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    vectors = UnitVectors(build(settings))(Tensor(REFERENCE["images"][0]))
    samples = vectors.asnumpy().reshape(-1, 4)
    found = spherical_kmeans(samples, samples[REFERENCE["start"]])
    agree("VQ-KD: k-means", found, REFERENCE["kmeans"], within=1e-5)


@pytest.mark.slow
def test_twenty_steps_of_the_tokenizers_training_are_those_of_torch(
    settings: Config, teacher: Teacher
) -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    tokenizer = build(settings)
    objective = Distillation(tokenizer, decay=DECAY, ranks=1)
    trainer = Trainer(
        objective,
        build_optimizer(settings.optimizer, objective, depth=settings.model.depth),
        settings.train,
        schedule=np.full(STEPS, LR),
        weight_decays=np.full(STEPS, WEIGHT_DECAY),
        loss_scale=LossScale(1.0, False, 1000),
        clip_norm=None,
    )
    for step, images in enumerate(REFERENCE["images"]):
        result = trainer([(images, teacher(Tensor(images)).asnumpy())])
        agree("VQ-KD: 20 losses", result.loss, REFERENCE["losses"][step], within=1e-5)
        distance = result.measures["teacher_distance"]
        agree("VQ-KD: 20 distances", distance, REFERENCE["distances"][step], within=1e-5)
        price = result.measures["commitment"]
        agree("VQ-KD: 20 prices", price, REFERENCE["prices"][step], within=1e-5)
        codes, usage = (
            each.asnumpy() for each in (tokenizer.quantize.codes, tokenizer.quantize.usage)
        )
        agree("VQ-KD: 20 codebooks", codes, REFERENCE["codes"][step], within=1e-5)
        agree("VQ-KD: 20 usages", usage, REFERENCE["usage"][step], within=1e-5)
    found = {each.name: each.asnumpy() for each in tokenizer.get_parameters()}
    for name, array in from_official(part(REFERENCE, "final")).items():
        agree("VQ-KD: 20 steps, parameters", found[name], array, within=1e-5)
