from __future__ import annotations

import pytest
from settings import ROOT

from beit_exp.launch import overrides
from beit_exp.launch.overrides import PLUGINS, check_overrides


@pytest.mark.parametrize("choice", list(PLUGINS))
def test_a_missing_plugin_is_named_with_its_installation(choice: str, monkeypatch, capsys) -> None:
    monkeypatch.setattr(overrides, "find_spec", lambda _: None)
    with pytest.raises(SystemExit):
        check_overrides([choice])
    extra = PLUGINS[choice][1]
    assert (
        f"{choice} needs another package: pip install -c .ci/constraints.txt -e '.[{extra}]'"
        in capsys.readouterr().err
    )
    assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text()
