"""Average of the weights of a sweep's jobs, or of a run's checkpoints: a model soup."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

from beit_exp.config.command_line import launch_command, override
from beit_exp.config.schema import Config
from beit_exp.data.description import describe
from beit_exp.hardware.device import Runtime
from beit_exp.inference.held_out import evaluate_images, open_shared_validation
from beit_exp.inference.network import build_network
from beit_exp.model.beit import BEiT
from beit_exp.report.multi_label import AnyOutcomes
from beit_exp.report.outcomes import OUTCOMES_FILE
from beit_exp.report.page import as_text
from beit_exp.report.result_files import write_table
from beit_exp.tracking.lineage import ingredient_tags
from beit_exp.tracking.tracker import Tracker
from beit_exp.train.checkpoint import CheckpointFolder
from beit_exp.train.progress import Metrics, Progress
from beit_exp.train.stop import listening
from beit_exp.weights.ingredients import find_ingredients
from beit_exp.weights.load import set_weights
from beit_exp.weights.names import Arrays
from beit_exp.weights.read import PREFIX
from beit_exp.weights.soup import Taste, make_soup

logger = logging.getLogger(__name__)
TABLE_FILE = "soup.csv"


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> Metrics:
    """Write the mean of the weights that `checkpoint` names, as a run that is done has its own.

    Returns its `val/...`, as a training's beside `best/...`, and those of its best ingredient.
    """
    ingredients = find_ingredients(str(cfg.checkpoint), cfg.checkpoint_kind)
    found = {ingredient.name: ingredient for ingredient in ingredients}
    run_dirs = {name: ingredient.run_dir for name, ingredient in found.items()}
    images = open_shared_validation(cfg, run_dirs.values(), keep_in=run_dir)
    network = build_network(cfg, runtime)
    logger.info("%d ingredients, measured on %d images", len(found), len(images))

    with listening() as stop:

        def measure(arrays: Arrays) -> tuple[Metrics, AnyOutcomes]:
            set_weights(network, arrays, path=Path(str(cfg.checkpoint)))
            metrics, outcomes = evaluate_images(
                network, images, cfg, runtime, check_stop=stop.check
            )
            return {f"val/{name}": value for name, value in metrics.items()}, outcomes

        soup = make_soup(
            cfg.soup.kind,
            {name: ingredient.read for name, ingredient in found.items()},
            measure=lambda arrays: measure(arrays)[0],
            objective=cfg.objective,
        )
        metrics, outcomes = measure(soup.arrays)  # the network has them now

    source, data_name = cfg.dataset.data_url, cfg.dataset.name
    seen = describe(images, name=data_name, source=source, context="validation")
    tags = ingredient_tags(run_dirs[name] for name in soup.taken)
    tracker.log_facts(tags=tags, datasets=[seen])
    best = soup.best_alone(cfg.objective)
    single = {name.replace("val/", "ingredient/"): value for name, value in best.own.items()}
    single |= {"soup/ingredients": len(found), "soup/taken": len(soup.taken)}
    tracker.log(metrics | single, step=0, epoch=0)
    outcomes.save(run_dir / OUTCOMES_FILE)
    progress = Progress(last=metrics, best={**metrics, "step": 0, "epoch": 0.0})
    classes = ingredients[0].state["classes"]
    path = save(network, run_dir, cfg, progress=progress, classes=classes, made_of=soup.taken)
    if cfg.tracking.log_checkpoint:
        tracker.log_file(path, folder="checkpoints")

    heading, *rows = soup.table(cfg.objective)
    write_table(run_dir / TABLE_FILE, [heading, *rows])
    tracker.log_file(run_dir / TABLE_FILE)
    logger.info("%s\n\n%s", as_text(heading, rows), summary(metrics, best, run_dir))
    return progress.final_metrics() | single


def save(
    network: BEiT,
    run_dir: Path,
    cfg: Config,
    *,
    progress: Progress,
    classes: list[str],
    made_of: list[str],
) -> Path:
    """A checkpoint of step 0, which is the best: what every other task finds in a run directory."""
    tensors = {f"{PREFIX}{parameter.name}": parameter for parameter in network.get_parameters()}
    state = {"trainer": {"step": 0}, "progress": asdict(progress), "soup_of": made_of}
    state |= {"classes": classes, "config": cfg.model_dump()}
    folder = CheckpointFolder(run_dir / "checkpoints", keep=1)
    folder.clear_litter()
    return folder.save(tensors, state, step=0, is_best=True)


def summary(metrics: Metrics, best: Taste, run_dir: Path) -> str:
    """The soup beside its best ingredient, where it is, and what to type next."""
    width = max(map(len, metrics)) + 1
    lines = [f"{'result':{width}}{'soup':>10}  best ingredient: {best.name}"]
    lines += [
        f"{name:{width}}{value:10.4f}{best.own[name]:10.4f}" for name, value in metrics.items()
    ]
    checkpoint = override("checkpoint", run_dir)
    return "\n".join(
        [
            *lines,
            "",
            f"files     {run_dir} (checkpoints/, {TABLE_FILE})",
            f"evaluate  {launch_command('task=evaluate', checkpoint)}",
            f"export    {launch_command('task=export', checkpoint)}",
        ]
    )
