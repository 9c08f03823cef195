from __future__ import annotations

import os
import signal

import pytest

from beit_exp.errors import Interrupted
from beit_exp.train.stop import listening


def test_a_signal_is_noted_and_a_second_one_acts_at_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with listening() as stop:
        stop.check()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted):
            stop.check()
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
    assert signal.getsignal(signal.SIGTERM) == before
