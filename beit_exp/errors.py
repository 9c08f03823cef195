"""What ends a run, and with which exit status."""

from __future__ import annotations


class UserError(Exception):
    """What the user can mend: shown as its message alone, without a traceback."""

    exit_status = 2


class MissingExtraError(UserError):
    """A package is not there which an optional part of this one brings."""

    def __init__(self, what: str, extra: str) -> None:
        # In a clone and from a wheel alike: pip keeps the installed version and adds the extra
        super().__init__(f"{what} needs another package: pip install 'beit-exp[{extra}]'")


class DivergedError(UserError):
    """Training that cannot go on: a result of its settings, told by an exit status of its own."""

    exit_status = 3


class Interrupted(BaseException):
    """The run was asked to stop: a signal, not a failure. Carries the signal's number."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number
