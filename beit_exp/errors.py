"""What ends a run, and with which exit status."""

from __future__ import annotations


class UserError(Exception):
    """What the user can mend: shown as its message alone, without a traceback."""

    exit_status = 2


class DivergedError(UserError):
    """Training that cannot go on: a result of its settings, told by an exit status of its own."""

    exit_status = 3


class Interrupted(BaseException):
    """The run was asked to stop: a signal, not a failure. Carries the signal's number."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.signal_number = signal_number
