"""The graphs of fine-tuning as MindSpore's front end makes them for Ascend, on any machine: without
stubs, in seconds for a small network.

The front end knows no kernels, but it knows operators, element types and shapes, so tests can state
laws over them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor

from beit_exp.config.mapping import load_config, save_config
from beit_exp.config.schema import Config
from beit_exp.dry_run.graphs import FRONT_END, Graph, read_graphs
from beit_exp.hardware.process import worker_environment
from beit_exp.model.build import build_model, drop_path_keep
from beit_exp.model.operations import choice
from beit_exp.model.precision import build_precision
from beit_exp.train.build import build_objective, build_trainer, prepare_network
from beit_exp.train.cells import CompiledUpdate
from beit_exp.train.gradients import GradientsInBuckets
from beit_exp.train.step import Trainer

STEPS_PER_EPOCH = 10  # any: the schedule is no part of a graph


def front_end_graphs(cfg: Config) -> list[Graph]:
    """Those of a step and of an evaluation, in the order of use: `graph.cell` is GradientCell,
    UpdateCell, ClearCell or BEiT.

    They are made in a process of its own, for MindSpore asks once in a process what to dump.
    """
    with tempfile.TemporaryDirectory(prefix="beit_exp_front_end_") as name:
        folder = Path(name)
        save_config(cfg, folder / "config.yaml")
        dumps = {
            "MS_DEV_SAVE_GRAPHS": "1",
            "MS_DEV_SAVE_GRAPHS_PATH": str(folder),
            "MS_DEV_DUMP_IR_PASSES": FRONT_END,
            "MS_DEV_PRECOMPILE_ONLY": "1",  # no kernels: a CPU lacks some of those
        }
        command = [sys.executable, "-m", "beit_exp.dry_run.front_end", name]
        environment = {**worker_environment(), **dumps}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=name)
        if done.returncode != 0:
            raise RuntimeError(f"the front end failed:\n{done.stdout}{done.stderr}")
        return read_graphs(folder, dump=FRONT_END)


def main(folder: Path) -> None:
    """Compile the graphs of the settings in a folder, and run none of them."""
    cfg = load_config(folder / "config.yaml")
    ms.set_device("CPU")
    ms.set_context(mode=ms.GRAPH_MODE)
    pretend_ascend()
    precision = build_precision(cfg.hardware.amp_level, half=ms.float16)
    classes = cfg.dataset.num_classes
    network = build_model(cfg.model, num_classes=classes, precision=precision, seed=cfg.seed)
    prepare_network(network, cfg.train)
    objective = build_objective(cfg, network, make_labels(cfg))
    trainer = build_trainer(cfg, objective, steps_per_epoch=STEPS_PER_EPOCH, ranks=1)
    batch = make_batch(cfg)
    compile_step(trainer, batch)
    network.set_train(False)
    network(batch[0])


def pretend_ascend() -> None:
    """Let the one place that asks for the device be told that it is another than a CPU."""
    choice.is_cpu = lambda: False


def make_batch(cfg: Config) -> list[Tensor | None]:
    """Zeros in the shapes of a micro-batch: images, targets, what drop-path keeps."""
    size, side = cfg.train.batch_size, cfg.model.image_size
    keep_L2B = drop_path_keep(
        cfg.model.drop_path_rate,
        depth=cfg.model.depth,
        seed=cfg.seed,
        micro_step=0,
        slots=np.arange(size),
    )
    images_BCSS = np.zeros((size, 3, side, side), np.float32)
    targets_BK = np.zeros((size, cfg.dataset.num_classes), np.float32)
    arrays = (images_BCSS, targets_BK, keep_L2B)
    return [None if array is None else Tensor(array) for array in arrays]


def make_labels(cfg: Config) -> np.ndarray:
    """An image of each class, in the form that the data set's labels have."""
    numbers = np.arange(cfg.dataset.num_classes, dtype=np.int32)
    return np.eye(len(numbers), dtype=np.uint8) if cfg.dataset.multi_label else numbers


def compile_step(trainer: Trainer, batch: list[Tensor | None]) -> None:
    """Every graph of a step, as `Trainer.__call__` uses them."""
    one = Tensor(np.float32(1))
    if trainer.accumulate_steps > 1:
        trainer.gradients(one, one, False, *batch)
    trainer.gradients(one, one, True, *batch)
    rates_3P = Tensor(trainer.optimizer.rates(0.0, 0.0, updates_done=0))
    layout = trainer.gradients.gradients
    assert isinstance(layout, GradientsInBuckets)
    buckets = [Tensor(np.zeros(sum(sizes), np.float32)) for _, _, sizes in layout.buckets]
    assert isinstance(trainer.update, CompiledUpdate)
    trainer.update.cell(one, rates_3P, *buckets)
    if trainer.clear is not None:
        trainer.clear()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
