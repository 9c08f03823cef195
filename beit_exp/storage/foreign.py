"""Files that somebody else wrote: whatever is in them, a reader ends in a value or `UserError`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from beit_exp.errors import UserError


@contextmanager
def reading(path: Path | str, verdict: str | None = None) -> Iterator[None]:
    """Inside, every error but `UserError` is the file's: it "cannot be read" or "is refused", or
    what `verdict` says.
    """
    refused = verdict or "is refused"
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        if error.strerror is None:  # a library's, of what it has read
            raise UserError(f"{path} {refused}: {error}") from error
        raise UserError(f"{path} {verdict or 'cannot be read'}: {error.strerror}") from error
    except MemoryError as error:
        raise UserError(f"{path} {refused}: it asks for more memory than there is") from error
    except Exception as error:
        # Parsers raise what they like: struct.error, zlib.error, OverflowError, RecursionError
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{path} {refused}: {lines[0]}") from error
