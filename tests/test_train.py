from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from conftest import make_config
from mindspore import Parameter, Tensor

from beit_exp.data.mixup import soft_targets
from beit_exp.errors import Interrupted, UserError
from beit_exp.inference.evaluate import batch_sums, evaluate
from beit_exp.model.build import build_model
from beit_exp.model.precision import Precision, build_precision
from beit_exp.optim.update import build_optimizer
from beit_exp.report.outcomes import Outcomes
from beit_exp.train.checkpoint import CheckpointFolder, load_checkpoint, restore, save_checkpoint
from beit_exp.train.loss_scale import LossScale
from beit_exp.train.losses import Classification
from beit_exp.train.progress import due, is_better
from beit_exp.train.step import Trainer
from beit_exp.train.stop import listening

TINY = (
    "model.embed_dim=32",
    "model.depth=2",
    "model.num_heads=2",
    "model.patch_size=16",
    "model.head_init_scale=1.0",
)
O0 = build_precision("O0", half=ms.float32)


def make_trainer(
    *overrides: str,
    precision: Precision = O0,
    loss_scale: LossScale | None = None,
    accumulate_steps: int = 1,
    ema_decay: float | None = None,
) -> Trainer:
    cfg = make_config(*TINY, *overrides)
    network = build_model(cfg.model, num_classes=10, precision=precision, seed=0)
    return Trainer(
        Classification(network),
        build_optimizer(cfg.optimizer, network, depth=cfg.model.depth),
        schedule=np.linspace(1e-3, 2e-3, 20),
        loss_scale=loss_scale or LossScale(1.0, False, 1000),
        clip_norm=cfg.optimizer.clip_global_norm_value,
        accumulate_steps=accumulate_steps,
        ema_decay=ema_decay,
    )


def anew(trainer: Trainer, **attributes: object) -> Trainer:
    """The same trainer, compiled as it is, at its start again, and with other attributes."""
    if not hasattr(trainer, "first_values"):
        trainer.first_values = {
            name: parameter.asnumpy().copy() for name, parameter in trainer.tensors().items()
        }
    for name, parameter in trainer.tensors().items():
        parameter.set_data(Tensor(trainer.first_values[name]))
    trainer.load_state(
        {"step": 0, "updates_done": 0, "loss_scale": LossScale(1.0, False, 1000).state()}
    )
    for name, value in attributes.items():
        setattr(trainer, name, value)
    return trainer


def batch(size: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = soft_targets(rng.integers(0, 10, size), num_classes=10, smoothing=0.1)
    return rng.standard_normal((size, 3, 32, 32), np.float32), targets


def weights_of(trainer: Trainer) -> dict[str, np.ndarray]:
    return {
        parameter.name: parameter.asnumpy().copy()
        for parameter in trainer.objective.network.get_parameters()
    }


# --- the step


def test_accumulated_micro_batches_equal_the_large_batch() -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    images, targets = batch(8)
    whole, parts = make_trainer(), make_trainer(accumulate_steps=2)
    for _ in range(3):
        one = whole([(images, targets, None)])
        two = parts([(images[:4], targets[:4], None), (images[4:], targets[4:], None)])
        assert two.loss == pytest.approx(one.loss, abs=1e-5)
        assert two.grad_norm == pytest.approx(one.grad_norm, rel=1e-4)
    for name, value in weights_of(whole).items():
        np.testing.assert_allclose(weights_of(parts)[name], value, atol=2e-5, err_msg=name)


def test_loss_scale_changes_no_result() -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    images, targets = batch()
    trainer = make_trainer()

    def train(scale: LossScale) -> tuple[list[float], list[float], dict[str, np.ndarray]]:
        anew(trainer, loss_scale=scale)
        results = [trainer([(images, targets, None)]) for _ in range(2)]
        return (
            [result.loss for result in results],
            [result.grad_norm for result in results],
            weights_of(trainer),
        )

    losses, norms, weights = train(LossScale(1.0, False, 1000))
    for scale in (1.0, 2.0**16):
        scaled = train(LossScale(scale, True, 1000))
        assert (scaled[0], scaled[1]) == (
            pytest.approx(losses, rel=1e-5),
            pytest.approx(norms, rel=1e-4),
        )
        for name, value in weights.items():
            np.testing.assert_allclose(scaled[2][name], value, atol=1e-6, err_msg=name)


def test_an_overflow_changes_nothing_but_the_scale() -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    half = build_precision("O1", half=ms.float16)
    trainer = make_trainer(precision=half, loss_scale=LossScale(2.0**40, True, 1000), ema_decay=0.9)
    before = weights_of(trainer)
    moments = [moment.asnumpy().copy() for moment in trainer.optimizer.update.state()]
    result = trainer([(*batch(), None)])
    assert not result.finite
    assert (trainer.step, trainer.updates_done, trainer.skipped_steps) == (1, 0, 1)
    assert trainer.loss_scale.value == 2.0**39
    assert all((value == before[name]).all() for name, value in weights_of(trainer).items())
    state = trainer.optimizer.update.state()
    assert all((new.asnumpy() == old).all() for new, old in zip(state, moments, strict=True))


def test_a_dynamic_scale_finds_a_value_that_trains_in_half_precision() -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    half = build_precision("O1", half=ms.float16)
    trainer = make_trainer(precision=half, loss_scale=LossScale(2.0**26, True, 1000))
    results = [trainer([(*batch(), None)]) for _ in range(20)]
    assert 0 < trainer.skipped_steps < 20
    used = [result.lr for result in results if result.finite]
    # A skipped step does not advance the schedule
    np.testing.assert_allclose(used, trainer.schedule[: len(used)])
    assert results[-1].loss < results[0].loss


def test_loss_scale_halves_to_one_and_doubles_after_its_window() -> None:
    scale = LossScale(2.0, True, window=3)
    values = []
    for finite in (False, False, True, True, True, True, False):
        scale.update(finite=finite)
        values.append(scale.value)
    assert values == [1, 1, 1, 1, 2, 2, 1]


def test_a_fixed_scale_stays() -> None:
    scale = LossScale(8.0, False, window=1)
    scale.update(finite=False)
    scale.update(finite=True)
    assert scale.value == 8.0


def test_averaged_weights_follow_their_formula_and_leave_the_network_as_it_was() -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    trainer = make_trainer(ema_decay=0.9)
    average = weights_of(trainer)
    for seed in range(3):
        trainer([(*batch(seed=seed), None)])
        average = {
            name: 0.9 * average[name] + 0.1 * value for name, value in weights_of(trainer).items()
        }
    raw = weights_of(trainer)
    images = Tensor(batch()[0])
    trainer.objective.network.set_train(False)
    raw_logits = trainer.objective.network(images).asnumpy()
    with trainer.averaged_weights():
        for name, value in weights_of(trainer).items():
            np.testing.assert_allclose(value, average[name], atol=1e-6, err_msg=name)
        assert np.abs(trainer.objective.network(images).asnumpy() - raw_logits).max() > 1e-6
    assert all((value == raw[name]).all() for name, value in weights_of(trainer).items())
    assert (trainer.objective.network(images).asnumpy() == raw_logits).all()


def test_clipping_bounds_the_update_and_the_logged_norm_is_the_one_before() -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    trainer = make_trainer(
        "optimizer=momentum", "optimizer.momentum=0.0", "optimizer.weight_decay=0.0"
    )
    start = weights_of(trainer)
    norms, moved = [], []
    for clip_norm in (None, 0.01):
        norms.append(anew(trainer, clip_norm=clip_norm)([(*batch(), None)]).grad_norm)
        changes = [
            (value - start[name]).astype(np.float64) for name, value in weights_of(trainer).items()
        ]
        moved.append(np.sqrt(sum((change**2).sum() for change in changes)))
    assert norms[0] == pytest.approx(norms[1])
    assert moved[0] == pytest.approx(1e-3 * norms[0], rel=1e-3)
    assert moved[1] == pytest.approx(1e-3 * 0.01, rel=1e-2)


def test_drop_path_enters_the_step() -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    images, targets = batch()
    dropped = np.zeros((2, 2, 8), np.float32)
    trainer = make_trainer()
    keeps = (None, np.ones_like(dropped), dropped)
    results = [anew(trainer)([(images, targets, keep)]).loss for keep in keeps]
    assert results[0] == pytest.approx(results[1], abs=1e-5)
    assert results[0] != pytest.approx(results[2], abs=1e-5)


def test_two_trainings_from_one_seed_are_equal() -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    runs = []
    for _ in range(2):
        trainer = make_trainer()
        runs.append([trainer([(*batch(seed=seed), None)]).loss for seed in range(4)])
    assert runs[0] == runs[1]


# --- evaluation


def test_sums_are_those_of_the_definition() -> None:
    logits = np.array([[3.0, 1, 2, 0, 0, 0, -1], [0, 1, 2, 3, 4, 5, 6]], np.float32)
    count, loss, top1, top5 = batch_sums(logits, np.array([0, 1]))
    expected = sum(
        np.log(np.exp(row - row[label]).sum())
        for row, label in zip(logits.astype(float), (0, 1), strict=True)
    )
    assert (count, top1, top5) == (2, 1, 1)
    assert loss == pytest.approx(expected)


def test_equal_logits_count_for_one_class_only() -> None:
    logits = np.zeros((10, 10), np.float32)
    assert batch_sums(logits, np.arange(10)).tolist()[2:] == [1, 5]


def test_logits_that_are_not_numbers_are_never_right() -> None:
    assert batch_sums(np.full((3, 10), np.nan, np.float32), np.arange(3))[2:].tolist() == [0, 0]


@pytest.mark.parametrize("size", [7, 16, 50])
def test_accuracy_does_not_depend_on_the_batch_size(size: int) -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    network = make_trainer().objective.network
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((50, 3, 32, 32), np.float32), rng.integers(0, 10, 50)

    def measure(batch_size: int) -> tuple[dict[str, float], Outcomes]:
        parts = [
            (images[at : at + batch_size], labels[at : at + batch_size])
            for at in range(0, 50, batch_size)
        ]
        return evaluate(
            network,
            parts,
            batch_size=batch_size,
            gather=lambda sums: sums[None],
            check_stop=lambda: None,
        )

    (found, outcomes), (whole, _) = measure(size), measure(50)
    assert outcomes.labels.tolist() == labels.tolist()
    assert 100 * np.mean(outcomes.predicted == labels) == pytest.approx(found["top1"])
    right = outcomes.predicted == labels
    np.testing.assert_array_equal(outcomes.probability[right], outcomes.label_probability[right])
    assert -np.log(outcomes.label_probability).mean() == pytest.approx(found["loss"], rel=1e-5)
    assert (found["top1"], found["top5"]) == (whole["top1"], whole["top5"])
    assert found["loss"] == pytest.approx(whole["loss"], rel=1e-6)


def test_outcomes_of_several_ranks_stand_in_the_order_of_the_set(tmp_path: Path) -> None:
    ms.set_context(mode=ms.GRAPH_MODE)
    network, rng = make_trainer().objective.network, np.random.default_rng(0)
    images, labels = rng.standard_normal((7, 3, 32, 32), np.float32), rng.integers(0, 10, 7)
    sent: list[list[np.ndarray]] = []

    def measure(rank: int, gather) -> Outcomes:
        part = (images[rank::2], labels[rank::2])
        return evaluate(network, [part], batch_size=4, gather=gather, check_stop=lambda: None)[1]

    for rank in (0, 1):  # each rank's own rows, the second's 3 filled up to the first's 4
        sent.append([])
        measure(rank, lambda row: sent[-1].append(row) or np.stack([row, row]))
    sent[1][1] = np.concatenate([sent[1][1][:12], np.zeros(4, np.float32)])
    answers = iter([np.stack(pair) for pair in zip(*sent, strict=True)])
    found = measure(0, lambda _: next(answers))
    alone = evaluate(
        network,
        [(images, labels)],
        batch_size=7,
        gather=lambda row: row[None],
        check_stop=lambda: None,
    )[1]
    assert found.labels.tolist() == labels.tolist()
    assert found.predicted.tolist() == alone.predicted.tolist()
    found.save(tmp_path / "outcomes.npz")
    assert Outcomes.load(tmp_path / "outcomes.npz").labels.tolist() == labels.tolist()


# --- checkpoints


def parameters(value: float = 1.0) -> dict[str, Parameter]:
    return {"model/a": Parameter(Tensor(np.full((2, 3), value, np.float32)), name="a")}


def test_checkpoint_restores_tensors_and_state(tmp_path: Path) -> None:
    path = tmp_path / "step.safetensors"
    save_checkpoint(path, parameters(0.1), {"step": 3, "best": {"val/top1": 0.1 + 0.2}})
    target = parameters(5.0)
    checkpoint = load_checkpoint(path)
    restore(checkpoint, target)
    assert (target["model/a"].asnumpy() == np.float32(0.1)).all()
    assert checkpoint.state == {"step": 3, "best": {"val/top1": 0.1 + 0.2}}


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "step.safetensors"
    save_checkpoint(path, parameters(), {})
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="step.safetensors is damaged"):
        load_checkpoint(path)


def test_a_truncated_checkpoint_is_found(tmp_path: Path) -> None:
    path = tmp_path / "step.safetensors"
    save_checkpoint(path, parameters(), {})
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="step.safetensors cannot be read"):
        load_checkpoint(path)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "step.safetensors"
    save_checkpoint(path, parameters(), {})
    other = {"model/a": Parameter(Tensor(np.zeros((4,), np.float32)), name="a")}
    with pytest.raises(
        UserError, match=r"another model or optimizer: 1 tensors differ, such as model/a"
    ):
        restore(load_checkpoint(path), other)


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    for step in range(1, 6):
        folder.save(parameters(step), {"step": step}, step=step, is_best=step == 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.safetensors",
        "step_00000004.safetensors",
        "step_00000005.safetensors",
    ]
    assert load_checkpoint(folder.best).state == {"step": 2}
    assert folder.load_newest().state == {"step": 5}


def test_a_failed_save_leaves_the_old_checkpoint_and_no_litter(tmp_path: Path, monkeypatch) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    folder.save(parameters(), {"step": 1}, step=1, is_best=False)

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("beit_exp.train.checkpoint.save_file", full_disk)
    with pytest.raises(
        UserError,
        match="step 2 could not be written .*No space left.*The last good one is .*step_00000001",
    ):
        folder.save(parameters(), {"step": 2}, step=2, is_best=False)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001.safetensors"]


def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_used(
    tmp_path: Path, caplog
) -> None:
    folder = CheckpointFolder(tmp_path, keep=3)
    for step in (1, 2):
        folder.save(parameters(step), {"step": step}, step=step, is_best=False)
    path = tmp_path / "step_00000002.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    assert folder.load_newest().state == {"step": 1}
    assert "step_00000002.safetensors cannot be read" in caplog.text


def test_a_folder_of_damaged_checkpoints_is_an_error_not_a_new_start(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=3)
    folder.save(parameters(), {}, step=1, is_best=False)
    (tmp_path / "step_00000001.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="none of the 1 checkpoints"):
        folder.load_newest()


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=3)
    folder.save(parameters(), {}, step=1, is_best=True)
    (tmp_path / ".step_00000002.safetensors.abc123").write_bytes(b"half")
    (tmp_path / ".tmpsrnsLr").write_bytes(b"what safetensors writes to")
    folder.clear_litter()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.safetensors",
        "step_00000001.safetensors",
    ]


# --- the loop's parts


def test_due_is_every_so_often_and_at_the_end() -> None:
    assert [step for step in range(1, 8) if due(step, 3, 7)] == [3, 6, 7]


def test_better_means_higher_accuracy_or_lower_loss() -> None:
    old = {"val/top1": 50.0, "val/loss": 1.0}
    assert is_better({"val/top1": 51.0, "val/loss": 2.0}, old, objective="val/top1")
    assert not is_better({"val/top1": 51.0, "val/loss": 2.0}, old, objective="val/loss")
    assert not is_better({"val/top1": 50.0, "val/loss": 0.5}, old, objective="best/val/top1")
    assert not is_better({"val/top1": float("nan"), "val/loss": 0.5}, old, objective="val/top1")
    assert is_better({"val/top1": 0.0, "val/loss": 9.0}, {}, objective="val/top1")


def test_a_signal_is_noted_and_a_second_one_acts_at_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with listening() as stop:
        stop.check()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            stop.check()
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
    assert signal.getsignal(signal.SIGTERM) == before


def test_checkpoint_metadata_is_plain_json(tmp_path: Path) -> None:
    from safetensors import safe_open

    save_checkpoint(tmp_path / "c.safetensors", parameters(), {"classes": ["tabby", "tiger"]})
    with safe_open(tmp_path / "c.safetensors", framework="numpy") as file:
        assert json.loads(file.metadata()["state"]) == {"classes": ["tabby", "tiger"]}
