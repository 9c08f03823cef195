"""The best network of a run as an MLflow model: images -> classes and probabilities.

MLflow runs this file, a copy of this package beside it, wherever the model is loaded or served.
"""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from pandas import DataFrame

from beit_exp.config.answers import columns
from beit_exp.config.mapping import load_config
from beit_exp.data.transforms import make_eval_transform
from beit_exp.hardware.device import start_device
from beit_exp.hardware.process import library_environment
from beit_exp.inference.classes import answer_rows
from beit_exp.inference.evaluate import predict_all
from beit_exp.inference.network import class_names, load_network
from beit_exp.inference.received import images_folder, receive_image
from beit_exp.model.operations.choice import kept_weights

LARGEST_BATCH = 32


class ServedModel(PythonModel):
    """Answers as `task=predict` does."""

    def load_context(self, context: PythonModelContext) -> None:
        """Start the device and load the network, once per process."""
        saved = load_config(Path(context.artifacts["config"]))
        cfg = saved.model_copy(
            update={
                "task": "predict",
                "checkpoint": context.artifacts["checkpoint"],
                "checkpoint_kind": "best",
            }
        )
        for name, value in library_environment().items():
            os.environ.setdefault(name, value)
        single = cfg.hardware.model_copy(update={"device_target": "auto", "device_num": 1})
        runtime = start_device(single, seed=cfg.seed)
        self.network = load_network(cfg, runtime)
        # For as long as this object lives, whose weights never change
        self.kept = ExitStack()
        self.kept.enter_context(kept_weights())
        self.classes, self.multi_label = class_names(cfg), cfg.dataset.multi_label
        self.transform = make_eval_transform(cfg.dataset, image_size=cfg.model.image_size)
        self.folder = images_folder()
        # Servers call from several threads. That images are decoded alone, too, bounds the memory
        self.one_at_a_time = threading.Lock()

    def predict(
        self, context: PythonModelContext, model_input: DataFrame, params: Any = None
    ) -> DataFrame:
        """Images as a column `image`, the bytes of image files, -> a row for each.

        A column `path` is taken of files in the folder BEIT_EXP_IMAGES. The answer's columns are
        `class1`, `class2` ... from the likeliest on, and `probability1` ...; before them `labels`,
        where an image may have several.
        """
        with self.one_at_a_time:
            images = np.stack(
                [
                    self.transform(receive_image(row, self.folder))
                    for row in model_input.to_dict("records")
                ]
            )
            logits = self.logits(images)
        return DataFrame(
            answer_rows(logits, self.classes, multi_label=self.multi_label),
            columns=columns(len(self.classes), multi_label=self.multi_label),
        )

    def logits(self, images: np.ndarray) -> np.ndarray:
        """What the network says of images (N, 3, S, S)."""
        # Few sizes, for each is compiled once
        size = min(LARGEST_BATCH, 1 << (len(images) - 1).bit_length())
        labels = np.zeros(len(images), np.int32)  # nobody knows them
        batches = (
            (images[begin : begin + size], labels[begin : begin + size])
            for begin in range(0, len(images), size)
        )
        return predict_all(self.network, batches, batch_size=size)


set_model(ServedModel())
