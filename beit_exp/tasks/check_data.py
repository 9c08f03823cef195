"""Read every image of the data set once, draw what the set looks like, and name what is wrong."""

from __future__ import annotations

import logging
from pathlib import Path

from beit_exp.config.schema import Config
from beit_exp.data.inspection import inspect
from beit_exp.data.listing import list_other_files
from beit_exp.data.places import places_read
from beit_exp.data.sources import open_splits
from beit_exp.errors import UserError
from beit_exp.hardware.cores import num_working
from beit_exp.hardware.device import Runtime
from beit_exp.report.data_findings import data_metrics, find
from beit_exp.report.data_page import write_data_report
from beit_exp.storage.files import write_atomically
from beit_exp.storage.remote import local_copy
from beit_exp.tracking.tracker import Tracker

logger = logging.getLogger(__name__)
SHOWN = 20


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> dict[str, float]:
    """-> numbers of images, copies, leaks and what else is told in `report/report.html`.

    Images that cannot be read stand in `bad_images.txt`; `UserError` names the first of them, when
    all is written.
    """
    lists = open_splits(cfg).lists()
    places = places_read(cfg.dataset, Path(local_copy(cfg.dataset.data_url)))
    other_files = [path for place in places for path in list_other_files(place)]
    workers = min(cfg.hardware.num_parallel_workers, num_working())
    data = inspect(lists, other_files, workers=workers)

    metrics = data_metrics(data)
    tracker.log(metrics, step=0, epoch=0)
    (run_dir / "bad_images.txt").unlink(missing_ok=True)  # of an earlier look
    page = write_data_report(data, run_dir, source=cfg.dataset.data_url)
    tracker.log_file(page, folder="report")
    for name in ("data.json", "duplicates.csv"):
        tracker.log_file(run_dir / name)

    for finding in find(data):
        logger.info("%-11s %s", finding.name, finding.text)
    logger.info("%-11s %s (data.json, duplicates.csv)", "files", run_dir)
    logger.info("%-11s %s", "report", page)
    if data.complaints:
        complaints = list(data.complaints.values())
        text = "".join(f"{line}\n" for line in complaints)
        write_atomically(run_dir / "bad_images.txt", text.encode())
        heading = f"{len(complaints)} images cannot be read:"
        raise UserError("\n  ".join([heading, *complaints[:SHOWN]]))
    return metrics
