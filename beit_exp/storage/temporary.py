"""The folder for temporary files, without which MindSpore cannot even be imported."""

from __future__ import annotations

import tempfile
from pathlib import Path

from beit_exp.errors import UserError


def temporary_folder() -> Path:
    """Where libraries write what they keep for a moment; `UserError` names what lacks."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        tried = (error.strerror or "").removeprefix("No usable temporary directory found in ")
        raise UserError(
            f"temporary files can be written to none of {tried}: set TMPDIR to a folder that can be"
            " written"
        ) from None
