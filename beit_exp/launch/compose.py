"""The settings that a command would run with, composed without running it."""

from __future__ import annotations

from typing import Any

import hydra
from hydra.errors import HydraException

from beit_exp.errors import UserError
from beit_exp.launch.overrides import CONF, adopt_run, check_overrides


def compose(overrides: list[str]) -> dict[str, Any]:
    """The plain values that `python launch.py OVERRIDES` would check and run.

    Wrong keys and choices end the process with status 2, as there.
    """
    check_overrides(overrides)
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            raw = hydra.compose("config", overrides)
    except HydraException as error:
        raise UserError(str(error).splitlines()[0]) from error
    return adopt_run(raw, overrides)
