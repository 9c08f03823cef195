"""The settings that a task reads are those that its traits name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from whole_runs import small

from beit_exp.config.schema import Config, Section
from beit_exp.config.traits import task_traits

# Of every run: where it is told, and what it may change
ELSEWHERE = ("tracking", "allow_changes")
GROUPS = {
    field.annotation: name
    for name, field in Config.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The full names of settings read so far, as attributes of a `Config`."""
    found: set[str] = set()
    get = Section.__getattribute__

    def record(section: Section, name: str) -> Any:
        if name in type(section).model_fields and not name.startswith("model_"):
            group = GROUPS.get(type(section))
            if group is not None:
                found.add(f"{group}.{name}")
            elif name not in GROUPS.values():
                found.add(name)
        return get(section, name)

    monkeypatch.setattr(Section, "__getattribute__", record)
    return found


def unnamed(found: set[str], task: Any) -> list[str]:
    is_read = task_traits(task).is_read
    return sorted(
        key for key in found if not is_read(key) and key.partition(".")[0] not in ELSEWHERE
    )


@pytest.mark.slow
def test_a_training_and_what_follows_it_read_no_setting_that_they_do_not_name(
    work: Callable[..., Path], read: set[str], few_digits: Path
) -> None:
    run_dir = work(*small(few_digits))
    assert {"optimizer.base_lr", "train.epochs", "seed"} <= read
    assert unnamed(read, "finetune") == []
    for task in ("evaluate", "predict", "explain", "export"):
        read.clear()
        work(f"task={task}", f"checkpoint={run_dir}", name=task)
        assert {"checkpoint", "checkpoint_kind"} <= read
        assert unnamed(read, task) == [], task
