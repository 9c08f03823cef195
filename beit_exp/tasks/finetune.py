"""Fine-tuning, the experiment on one page."""

from __future__ import annotations

from pathlib import Path

from beit_exp.config.command_line import launch_command, override
from beit_exp.config.schema import Config
from beit_exp.data.build import train_batches
from beit_exp.hardware.device import Runtime
from beit_exp.inference.held_out import evaluate_images, measure_test_set
from beit_exp.model.build import build_model
from beit_exp.model.precision import build_precision
from beit_exp.report.mistakes import plot_outcomes
from beit_exp.report.multi_label import AnyOutcomes, load_outcomes
from beit_exp.report.outcomes import OUTCOMES_FILE
from beit_exp.report.sheets import draw_batch, multi_label_titles, target_titles
from beit_exp.tracking.mlflow_model import log_model
from beit_exp.tracking.tracker import Tracker
from beit_exp.train.build import (
    build_objective,
    build_trainer,
    make_labelled_batches,
    prepare_network,
    start_head,
)
from beit_exp.train.loop import fit
from beit_exp.train.progress import Metrics
from beit_exp.train.session import CheckStop, Session, open_session
from beit_exp.weights.load import load_pretrained
from beit_exp.weights.source import find_source


def run(cfg: Config, run_dir: Path, runtime: Runtime, tracker: Tracker) -> Metrics:
    """Train the network of `cfg`, or go on training it, and return its final metrics."""
    session = open_session(cfg, run_dir, runtime, tracker)
    stream, val_images = session.stream, session.val_images

    precision = build_precision(cfg.hardware.amp_level, half=runtime.half)
    classes = cfg.dataset.num_classes
    network = build_model(cfg.model, num_classes=classes, precision=precision, seed=cfg.seed)
    start_head(network, cfg, session.train_images.labels)
    if cfg.model.pretrained is not None:
        kind, multi_label = cfg.checkpoint_kind, cfg.dataset.multi_label
        load_pretrained(network, cfg.model.pretrained, kind=kind, multi_label=multi_label)
    prepare_network(network, cfg.train)

    objective = build_objective(cfg, network, session.train_images.labels)
    steps_per_epoch = stream.steps_per_epoch
    trainer = build_trainer(cfg, objective, steps_per_epoch=steps_per_epoch, ranks=runtime.size)

    def measure(check_stop: CheckStop) -> tuple[Metrics, AnyOutcomes]:
        return evaluate_images(network, val_images, cfg, runtime, check_stop=check_stop)

    if runtime.is_leader:
        session.begin(weights=origin(cfg))

    metrics = fit(
        session,
        trainer,
        batches=make_labelled_batches(cfg, stream),
        validate=session.make_validate(
            trainer, measure, keep=lambda outcomes: outcomes.save(run_dir / OUTCOMES_FILE)
        ),
        illustrate=lambda: draw_first_batch(session),
        facts={"classes": session.train_images.classes},
    )
    metrics |= measure_test_set(session, network, metrics)
    if runtime.is_leader:
        outcomes = load_outcomes(run_dir / OUTCOMES_FILE)
        plot_outcomes(outcomes, val_images, session.plots)
        if cfg.tracking.log_model is not None:
            tracker.upload(lambda client, run_id: log_model(client, run_id, cfg, run_dir))
        table = outcomes.class_table(val_images.classes)
        session.finish(metrics, following=next_commands(session), classes=table)
    return metrics


def origin(cfg: Config) -> str:
    """Which weights the training starts from."""
    if cfg.model.pretrained is None:
        return "from scratch"
    return f"from {find_source(cfg.model.pretrained, cfg.checkpoint_kind)}"


def draw_first_batch(session: Session) -> None:
    """A picture of what the network sees, with the classes that it is to find."""
    cfg = session.cfg
    images, targets = next(train_batches(session.stream, cfg, first=0, last=1))
    classes, smoothing = session.train_images.classes, cfg.augment.label_smoothing
    name = multi_label_titles if cfg.dataset.multi_label else target_titles
    titles = name(targets, classes, smoothing=smoothing)
    path, data = session.plots / "batch.png", cfg.dataset
    draw_batch(images, titles=titles, mean=data.mean, std=data.std, path=path)


def next_commands(session: Session) -> tuple[str, ...]:
    """What to do with a network that is trained."""
    checkpoint = override("checkpoint", session.run_dir)
    following = {
        "evaluate": ("task=evaluate", checkpoint),
        "predict": ("task=predict", checkpoint, "images=/path/to/images"),
    }
    if session.cfg.dataset.name == "digits":
        following["train"] = ("experiment=own_images", "dataset.data_url=/path/to/your/images")
    return tuple(f"{name:8}  {launch_command(*words)}" for name, words in following.items())
