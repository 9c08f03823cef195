from __future__ import annotations

from typing import Any

import mindspore as ms
import pytest
from settings import make_config

from beit_exp.errors import UserError
from beit_exp.hardware import card


def hardware(*overrides: str) -> Any:
    return make_config("hardware=ascend", *overrides).hardware


@pytest.mark.parametrize(
    ("soc", "setting", "level"),
    [
        ("ascend910", "auto", "O0"),
        ("ascend910", "O0", "O0"),
        ("ascend910b", "auto", "O1"),
        ("ascend910b", "O0", "O0"),
        ("ascend910_93", "auto", "O1"),
        ("", "auto", "O0"),
    ],
)
def test_the_compiler_fuses_where_a_card_has_fused_kernels(
    soc: str, setting: str, level: str, monkeypatch
) -> None:
    monkeypatch.setattr(card, "soc_version", lambda: soc)
    assert card.choose_jit_level(hardware(f"hardware.jit_level={setting}")) == level


@pytest.mark.parametrize(
    ("soc", "setting", "kind"),
    [
        ("ascend910", "float16", ms.float16),
        ("ascend910", "auto", ms.float16),
        ("ascend910b", "float16", ms.float16),
        ("ascend910b", "auto", ms.bfloat16),
        ("ascend910b", "bfloat16", ms.bfloat16),
    ],
)
def test_half_precision_is_what_was_asked_for(
    soc: str, setting: str, kind: Any, monkeypatch
) -> None:
    monkeypatch.setattr(card, "soc_version", lambda: soc)
    assert card.choose_half(hardware(f"hardware.half={setting}")) == kind


@pytest.mark.parametrize(
    ("ask", "setting", "message"),
    [
        (
            card.choose_jit_level,
            "hardware.jit_level=O1",
            "hardware.jit_level = 'O1': .* auto and O0 work",
        ),
        (
            card.choose_half,
            "hardware.half=bfloat16",
            "hardware.half = 'bfloat16': .* float16 alone",
        ),
    ],
)
def test_what_an_atlas_training_card_cannot_is_refused(
    ask: Any, setting: str, message: str, monkeypatch
) -> None:
    monkeypatch.setattr(card, "soc_version", lambda: card.ATLAS_TRAINING)
    with pytest.raises(UserError, match=message):
        ask(hardware(setting))
