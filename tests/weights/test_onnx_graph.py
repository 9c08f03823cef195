"""The ONNX graph of every kind of network, and what its formats refuse."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from agreement import agree
from mindspore import Tensor
from onnxruntime import InferenceSession
from settings import TINY, make_config

from beit_exp.model.build import build_model
from beit_exp.model.precision import build_precision
from beit_exp.weights.onnx_graph import build_onnx

VARIANTS = {
    "per-block tables": (
        "model.rel_pos_bias=true",
        "model.shared_rel_pos_bias=false",
        "model.abs_pos_emb=false",
    ),
    "a shared table": (
        "model.rel_pos_bias=false",
        "model.shared_rel_pos_bias=true",
        "model.abs_pos_emb=false",
    ),
    "absolute positions": ("model.rel_pos_bias=false", "model.abs_pos_emb=true"),
    "the class token": ("model.pooling=cls",),
    "no layer scale": ("model.layer_scale_init_value=null",),
}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_onnx_graph_has_the_networks_logits_at_any_batch(variant: str) -> None:
    cfg = make_config(*TINY, *VARIANTS[variant]).model
    network = build_model(
        cfg, num_classes=10, precision=build_precision("O0", half=ms.float32), seed=0
    )
    rng = np.random.default_rng(0)
    for parameter in network.get_parameters():  # tables, biases and norms start at constants
        parameter.set_data(
            parameter + Tensor(rng.normal(0, 0.3, parameter.shape).astype(np.float32))
        )
    network.set_train(False)
    arrays = {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}
    session = InferenceSession(
        build_onnx(cfg, arrays).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for batch in (1, 3):
        images = rng.standard_normal((batch, 3, 32, 32), np.float32)
        found = session.run(["logits"], {"images": images})[0]
        agree(
            f"ONNX in onnxruntime, {variant}",
            found,
            network(Tensor(images)).asnumpy(),
            within=1e-5,
            relative=True,
        )
