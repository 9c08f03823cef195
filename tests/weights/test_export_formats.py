"""Files for other programs, read back: MindSpore's graph, and Hugging Face's folder."""

from __future__ import annotations

import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from conftest import TINY, make_config
from mindspore import Tensor

from beit_exp.inference.network import as_function
from beit_exp.model.build import build_model
from beit_exp.model.precision import build_precision
from beit_exp.weights.hugging_face import write_folder
from beit_exp.weights.load import read_weights
from beit_exp.weights.mindspore_graph import read_mindir, write_graph

CLASSES = [f"class {number}" for number in range(10)]


@pytest.fixture(scope="module")
def network():
    """A portable network with random weights everywhere."""
    ms.set_context(mode=ms.GRAPH_MODE)
    network = build_model(
        make_config(*TINY).model,
        num_classes=10,
        precision=build_precision("O0", half=ms.float32),
        seed=0,
        portable=True,
    )
    rng = np.random.default_rng(0)
    for parameter in network.get_parameters():
        parameter.set_data(
            parameter + Tensor(rng.normal(0, 0.3, parameter.shape).astype(np.float32))
        )
    network.set_train(False)
    return network


def test_a_mindir_file_has_the_networks_logits_at_any_batch(network, tmp_path: Path) -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    path = tmp_path / "network.mindir"
    write_graph(network, path, image_size=32, form="MINDIR")
    assert [file.name for file in tmp_path.iterdir()] == ["network.mindir"]
    ours, theirs = as_function(network), as_function(read_mindir(path))
    for batch in (1, 3):
        images = np.random.default_rng(batch).standard_normal((batch, 3, 32, 32), np.float32)
        np.testing.assert_allclose(theirs(images), ours(images), rtol=0, atol=1e-5)


def test_a_hugging_face_folder_has_the_weights_and_describes_them(network, tmp_path: Path) -> None:
    cfg = make_config(*TINY)
    arrays = {parameter.name: parameter.asnumpy() for parameter in network.get_parameters()}
    folder = tmp_path / "huggingface"
    write_folder(folder, arrays, model=cfg.model, dataset=cfg.dataset, classes=CLASSES)
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]
    found = read_weights(folder / "model.safetensors")
    assert found.keys() == arrays.keys()
    assert all((found[name] == array).all() for name, array in arrays.items())
    described = json.loads((folder / "config.json").read_text())
    assert (described["num_hidden_layers"], described["num_attention_heads"]) == (2, 2)
    assert described["label2id"]["class 3"] == 3
    prepared = json.loads((folder / "preprocessor_config.json").read_text())
    assert prepared["crop_size"] == {"height": 32, "width": 32}
    assert prepared["image_mean"] == cfg.dataset.mean
