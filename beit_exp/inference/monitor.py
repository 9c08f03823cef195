"""What a representation is worth while it is learnt: k-NN accuracy, as a metric of pre-training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from beit_exp.data.listing import ImageList
from beit_exp.inference.evaluate import gather_exactly
from beit_exp.inference.features import BlockFeatures, block_numbers, feature_rows
from beit_exp.model.beit import Backbone
from beit_exp.probes.neighbours import neighbour_accuracy
from beit_exp.train.progress import Metrics
from beit_exp.train.session import CheckStop, Session


def make_neighbour_metric(network: Backbone, session: Session) -> Callable[[CheckStop], Metrics]:
    """What measures `knn_top1` (percent) of the network as it is: val's images by all of train's.

    Nothing is compiled before the first time.
    """
    cfg, runtime = session.cfg, session.runtime
    blocks = block_numbers(cfg.features.blocks, cfg.model.depth)
    cell = BlockFeatures(network, blocks=blocks, pooling=cfg.features.pooling)
    train, val = session.train_images, session.val_images

    def measure(check_stop: CheckStop) -> Metrics:
        known_ND, queries_QD = (collect(images, check_stop) for images in (train, val))
        found = 0.0
        if runtime.is_leader:
            count = cfg.probe.every_neighbours
            found = neighbour_accuracy(
                known_ND,
                train.labels,
                queries_QD,
                val.labels,
                counts=[count],
                temperature=cfg.probe.temperature,
                num_classes=len(train.classes),
            )[count]["top1"]
        # All ranks go on by the leader's number
        return {"knn_top1": float(gather_exactly(np.array([found]), runtime.gather)[0, 0])}

    def collect(images: ImageList, check_stop: CheckStop) -> np.ndarray:
        rows = feature_rows(cell, images, cfg, runtime, check_stop=check_stop)
        kept = [row_BLF[:, 0] for row_BLF in rows if runtime.is_leader]
        return np.concatenate(kept) if kept else np.empty((0, 0), np.float32)

    return measure
