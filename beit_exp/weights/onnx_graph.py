"""BEiT written in ONNX operators: any batch size, exact GELU, LayerNormalization as one operator.

MindSpore's own exporter knows neither Erf nor an open batch. That both definitions agree is
measured at every export.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper
from onnxruntime import InferenceSession

from beit_exp.config.schema import ModelConfig
from beit_exp.model.attention import relative_position_index
from beit_exp.model.operations.gradients import LAYER_NORM_EPS
from beit_exp.storage.files import write_atomically

OPSET = 17  # the first with LayerNormalization
IR_VERSION = 8  # of the same age
ERF_SCALE = 2**-0.5


class Graph:
    """Nodes and constants in the order of their use; every method returns a value's name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        """An array, kept once under its name."""
        self.constants.setdefault(name, value)
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """What an operator makes of its inputs."""
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def reshape(self, value: str, *shape: int) -> str:
        """ONNX's own: 0 keeps an axis, -1 takes what is left."""
        return self.node("Reshape", value, self.integers(*shape))

    def integers(self, *values: int) -> str:
        """A list of int64."""
        return self.constant("integers_" + "_".join(map(str, values)), np.array(values, np.int64))

    def number(self, value: float) -> str:
        """A float32 scalar."""
        return self.constant(f"number_{value!r}", np.array(value, np.float32))


class BeitGraph(Graph):
    """The network of `cfg` with the weights `arrays`, under our names."""

    def __init__(self, cfg: ModelConfig, arrays: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.cfg = cfg
        self.arrays = arrays
        self.grid = cfg.image_size // cfg.patch_size
        self.tokens = self.grid**2 + 1

    def weight(self, name: str) -> str:
        """A parameter as it is."""
        return self.constant(name, self.arrays[name])

    def dense(self, value: str, name: str) -> str:
        """(..., I) -> (..., O): a product, and a bias where there is one."""
        transposed = np.ascontiguousarray(self.arrays[f"{name}.weight"].T)
        product = self.node("MatMul", value, self.constant(f"{name}.weight.T", transposed))
        has_bias = f"{name}.bias" in self.arrays
        return self.node("Add", product, self.weight(f"{name}.bias")) if has_bias else product

    def norm(self, value: str, name: str) -> str:
        """Layer norm of the last axis."""
        weights = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.node("LayerNormalization", value, *weights, axis=-1, epsilon=LAYER_NORM_EPS)

    def bias(self, name: str) -> str:
        """A table of relative positions -> (H, N, N)."""
        index = self.constant(
            "relative_position_index", relative_position_index(self.grid).reshape(-1)
        )
        found = self.node(
            "Gather", self.weight(f"{name}.relative_position_bias_table"), index, axis=0
        )
        return self.reshape(
            self.node("Transpose", found, perm=[1, 0]), self.cfg.num_heads, self.tokens, self.tokens
        )

    def attention(self, value: str, name: str, bias: str | None) -> str:
        """(B, N, D) -> (B, N, D), `bias` being (H, N, N)."""
        heads, width = self.cfg.num_heads, self.cfg.embed_dim // self.cfg.num_heads
        q, k, v = (
            self.reshape(self.dense(value, f"{name}.{letter}"), 0, 0, heads, width)
            for letter in "qkv"
        )
        q = self.node("Transpose", self.node("Mul", q, self.number(width**-0.5)), perm=[0, 2, 1, 3])
        k = self.node("Transpose", k, perm=[0, 2, 3, 1])
        v = self.node("Transpose", v, perm=[0, 2, 1, 3])
        scores = self.node("MatMul", q, k)
        if bias is not None:
            scores = self.node("Add", scores, bias)
        found = self.node("MatMul", self.node("Softmax", scores, axis=-1), v)
        merged = self.reshape(
            self.node("Transpose", found, perm=[0, 2, 1, 3]), 0, 0, self.cfg.embed_dim
        )
        return self.dense(merged, f"{name}.proj")

    def mlp(self, value: str, name: str) -> str:
        """(B, N, D) -> (B, N, D), with GELU as x · (erf(x / √2) + 1) / 2."""
        value = self.dense(value, f"{name}.fc1")
        erf = self.node("Erf", self.node("Mul", value, self.number(ERF_SCALE)))
        factor = self.node("Mul", self.node("Add", erf, self.number(1.0)), self.number(0.5))
        return self.dense(self.node("Mul", value, factor), f"{name}.fc2")

    def added(self, value: str, branch: str, gamma: str) -> str:
        """A residual, its branch scaled by layer scale where there is one."""
        if gamma in self.arrays:
            branch = self.node("Mul", branch, self.weight(gamma))
        return self.node("Add", value, branch)

    def build(self, images: str) -> str:
        """Images -> logits."""
        cfg, width = self.cfg, self.cfg.embed_dim
        kernel = {"kernel_shape": [cfg.patch_size] * 2, "strides": [cfg.patch_size] * 2}
        weights = self.weight("patch_embed.proj.weight"), self.weight("patch_embed.proj.bias")
        patches = self.reshape(self.node("Conv", images, *weights, **kernel), 0, width, -1)
        patches = self.node("Transpose", patches, perm=[0, 2, 1])
        batch = self.node("Gather", self.node("Shape", images), self.integers(0), axis=0)
        shape = self.node("Concat", batch, self.integers(1, width), axis=0)
        x = self.node(
            "Concat", self.node("Expand", self.weight("cls_token"), shape), patches, axis=1
        )
        if cfg.abs_pos_emb:
            x = self.node("Add", x, self.weight("pos_embed"))
        shared = self.bias("rel_pos_bias") if cfg.shared_rel_pos_bias else None
        for number in range(cfg.depth):
            name = f"blocks.{number}"
            bias = self.bias(f"{name}.rel_pos") if cfg.rel_pos_bias else shared
            branch = self.attention(self.norm(x, f"{name}.norm1"), f"{name}.attn", bias)
            x = self.added(x, branch, f"{name}.gamma_1")
            x = self.added(
                x, self.mlp(self.norm(x, f"{name}.norm2"), f"{name}.mlp"), f"{name}.gamma_2"
            )
        if cfg.pooling == "cls":
            pooled = self.node(
                "Gather",
                self.norm(x, "norm"),
                self.constant("first", np.array(0, np.int64)),
                axis=1,
            )
        else:
            window = self.integers(1), self.integers(self.tokens), self.integers(1)
            pooled = self.norm(
                self.node("ReduceMean", self.node("Slice", x, *window), axes=[1], keepdims=0),
                "fc_norm",
            )
        return self.dense(pooled, "head")


def write_onnx(cfg: ModelConfig, arrays: dict[str, np.ndarray], path: Path) -> None:
    """The network of `cfg` with the weights `arrays`, under our names, as an .onnx file."""
    write_atomically(path, build_onnx(cfg, arrays).SerializeToString())


def read_onnx(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The network of such a file in onnxruntime: (B, 3, S, S) images -> (B, K) logits."""
    session = InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run(["logits"], {"images": images})[0])


def build_onnx(cfg: ModelConfig, arrays: dict[str, np.ndarray]) -> ModelProto:
    """The checked ONNX model: `images` (batch, 3, S, S) -> `logits` (batch, K)."""
    graph = BeitGraph(cfg, arrays)
    side, classes = cfg.image_size, len(arrays["head.bias"])
    logits = graph.node("Identity", graph.build("images"))
    graph.nodes[-1].output[0] = logits = "logits"
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            cfg.arch,
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, side, side])],
            [helper.make_tensor_value_info(logits, TensorProto.FLOAT, ["batch", classes])],
            [numpy_helper.from_array(value, name) for name, value in graph.constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="beit-exp",
    )
    model.ir_version = IR_VERSION
    checker.check_model(model)
    return model
