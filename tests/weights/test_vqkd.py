"""The names and shapes of the published tokenizers, at their own size."""

from __future__ import annotations

import numpy as np
import pytest
from published_files import Shapes, published_shapes, write_empty
from settings import make_config
from trajectory import FLOAT32

from beit_exp.config.schema import Config
from beit_exp.model.vqkd import VqkdTokenizer, transformer
from beit_exp.weights.vqkd import from_official, read_vqkd

OPTIONS = ("vqkd_encoder_base_decoder_1x768x12", "vqkd_encoder_base_decoder_3x768x12")
CLIP_WIDTH = 512  # of the features that CLIP's ViT-B/16 projects to


def official_shapes(cfg: Config) -> Shapes:
    """Of unilm/beit2 modeling_vqkd.py, as a state dict has them without the teacher."""
    own, grid = cfg.tokenizer, cfg.model.image_size // cfg.model.patch_size
    encoder = transformer(own, depth=own.depth, image_size=cfg.model.image_size, patch_size=16)
    decoder = transformer(own, depth=own.decoder_depth, image_size=grid, patch_size=1)
    width, vocabulary = own.embed_dim, own.vocabulary
    shapes: Shapes = {}
    for name, each in (("encoder", encoder), ("decoder", decoder)):
        found = published_shapes(each, classes=None)
        found |= {"fc_norm.weight": (width,), "fc_norm.bias": (width,)}
        shapes |= {f"{name}.{key}": shape for key, shape in found.items()}
    shapes["decoder.patch_embed.proj.weight"] = (width, own.code_width, 1, 1)
    for name, out in (("encode", own.code_width), ("decode", CLIP_WIDTH)):
        for layer, rows in ((0, width), (2, out)):
            shapes[f"{name}_task_layer.{layer}.weight"] = (rows, width)
            shapes[f"{name}_task_layer.{layer}.bias"] = (rows,)
    return shapes | {
        "quantize.cluster_size": (vocabulary,),
        "quantize.embedding.weight": (vocabulary, own.code_width),
        "quantize.embedding.cluster_size": (vocabulary,),
        "quantize.embedding.embed_avg": (vocabulary, own.code_width),
        "quantize.embedding.initted": (1,),
    }


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_a_published_tokenizer_has_the_parameters_of_ours_by_name_and_shape(
    option: str, tmp_path
) -> None:
    cfg = make_config("model=beitv2_base_patch16_224", f"tokenizer={option}")
    path = tmp_path / "official.safetensors"
    write_empty(path, official_shapes(cfg))
    found = {name: array.shape for name, array in read_vqkd(path).items()}
    size = {"image_size": 224, "patch_size": 16, "feature_width": CLIP_WIDTH}
    ours = VqkdTokenizer(cfg.tokenizer, **size, precision=FLOAT32)
    assert found == {each.name: tuple(each.shape) for each in ours.get_parameters()}
    assert found["quantize.codes"] == (8192, 32)


def test_a_teacher_and_averages_that_nobody_reads_have_no_place() -> None:
    names = ("teacher_model.x", "scaling_layer.shift", "quantize.embedding.embed_avg", "loss.w")
    assert from_official({name: np.zeros(1) for name in names}) == {}
