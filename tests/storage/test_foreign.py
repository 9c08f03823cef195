from __future__ import annotations

import errno
import struct

import pytest

from beit_exp.errors import UserError
from beit_exp.storage.foreign import reading


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (struct.error("unpack requires 4 bytes"), "w.pth is refused: unpack requires 4 bytes"),
        (RecursionError("too deep\nmore"), "w.pth is refused: too deep"),
        (KeyError(), "w.pth is refused: KeyError"),
        (MemoryError(), "w.pth is refused: it asks for more memory than there is"),
        (OSError("cannot identify"), "w.pth is refused: cannot identify"),
        (OSError(errno.EISDIR, "Is a directory"), "w.pth cannot be read: Is a directory"),
        (UserError("said already"), "said already"),
    ],
)
def test_every_error_becomes_a_message(error: Exception, said: str) -> None:
    with pytest.raises(UserError) as raised, reading("w.pth"):
        raise error
    assert str(raised.value) == said


def test_an_interrupt_stays_one() -> None:
    with pytest.raises(KeyboardInterrupt), reading("w.pth"):
        raise KeyboardInterrupt
