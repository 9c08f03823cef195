from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from mindspore import Parameter, Tensor
from safetensors.numpy import save_file

from beit_exp.errors import UserError
from beit_exp.train.checkpoint import (
    CheckpointFolder,
    load_checkpoint,
    read_state,
    restore,
    save_checkpoint,
)


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


def test_checkpoint_metadata_is_plain_json(tmp_path: Path) -> None:
    from safetensors import safe_open

    save_checkpoint(tmp_path / "c.safetensors", parameters(), {"classes": ["tabby", "tiger"]})
    with safe_open(tmp_path / "c.safetensors", framework="numpy") as file:
        assert json.loads(file.metadata()["state"]) == {"classes": ["tabby", "tiger"]}


def test_an_edited_state_is_found_without_reading_the_tensors(tmp_path: Path) -> None:
    path = tmp_path / "step_00000001.safetensors"
    save_checkpoint(path, parameters(), {"trainer": {"step": 15}})
    path.write_bytes(path.read_bytes().replace(b"15}}", b"13}}"))
    with pytest.raises(UserError, match="its checksum does not match its state"):
        read_state(path)


def test_a_checkpoint_of_the_first_format_is_read(tmp_path: Path) -> None:
    path = tmp_path / "step_00000001.safetensors"
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    digest = hashlib.sha256(b"model/w" + array.tobytes()).hexdigest()
    metadata = {"format": "beit-exp-1", "state": '{"step": 3}', "sha256": digest}
    save_file({"model/w": array}, path, metadata=metadata)
    assert read_state(path) == load_checkpoint(path).state == {"step": 3}
    save_file({"model/w": array + 1}, path, metadata=metadata)
    with pytest.raises(UserError, match="its checksum does not match its tensors"):
        load_checkpoint(path)


def test_folders_among_checkpoints_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".cache").mkdir()
    (tmp_path / "step_00000009.safetensors").mkdir()
    folder = CheckpointFolder(tmp_path, keep=1)
    folder.clear_litter()
    for step in (1, 2):
        folder.save(parameters(), {"step": step}, step=step, is_best=False)
    assert folder.load_newest().state == {"step": 2}
    assert (tmp_path / ".cache").is_dir() and (tmp_path / "step_00000009.safetensors").is_dir()
