"""Settings files made to harm: nothing in them is run, and none is more than its bytes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from attack.trial import MAX_S
from beit_exp.config.mapping import load_config
from beit_exp.errors import UserError

LAUGHS = "a0: &a0 [x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
)
HOSTILE = {
    "a call": b"seed: !!python/object/apply:os.mkdir [was_here]\n",
    "a module": b"seed: !!python/module:os\n",
    "a name": b"seed: !!python/name:os.system\n",
    "a value of many aliases": LAUGHS.encode(),
    "an alias of itself": b"seed: &a [*a]\n",
    "deep nesting": b"[" * 20_000,
    "a deep mapping": b"".join(b" " * level + b"a:\n" for level in range(1_000)),
    "more than settings take": b"seed: 1\n" + b"#" * (1 << 20),
    "a number of many digits": b"seed: " + b"9" * 5_000 + b"\n",
    "no number": b"train:\n  epochs: .nan\n",
    "a date": b"seed: 2001-01-01\n",
    "a list": b"- seed\n",
    "a text": b"seed\n",
    "nothing": b"",
    "zeros": bytes(99),
    "no text": b"\xff\xfe\xff",
    "two documents": b"seed: 1\n---\nseed: 2\n",
    "a merge of no mapping": b"<<: 1\nseed: 1\n",
    "a key that is a list": b"? [a]\n: 1\n",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_settings_are_refused_and_not_run(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_bytes(HOSTILE[case])
    began = time.monotonic()
    with pytest.raises(UserError, match=r"config\.yaml|settings"):
        load_config(tmp_path / "config.yaml")
    assert time.monotonic() - began < MAX_S
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
