from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from beit_exp.errors import Interrupted
from beit_exp.train import stop
from beit_exp.train.stop import listening


def send(number: int) -> None:
    """A signal to this process, which has come when this returns."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_noted_and_does_not_act(number: int) -> None:
    before = signal.getsignal(number)
    with listening() as request:
        request.check()
        send(number)
        send(number)  # of the terminal, and of the launcher
        with pytest.raises(Interrupted) as raised:
            request.check()
        assert raised.value.signal_number == number
    assert signal.getsignal(number) == before


def test_a_second_ctrl_c_acts_at_once_and_a_second_sigterm_never(monkeypatch) -> None:
    monkeypatch.setattr(stop, "AGAIN_S", -1.0)
    with listening():
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        with pytest.raises(Interrupted):
            send(signal.SIGINT)


def test_outside_of_a_training_the_first_acts_and_the_next_do_no_more() -> None:
    with listening(acts_at_once=True):
        with pytest.raises(Interrupted):
            send(signal.SIGTERM)
        send(signal.SIGTERM)
        send(signal.SIGHUP)


def test_a_signal_that_comes_while_an_object_is_cleared_away_is_not_lost(capsys) -> None:
    class Cell:
        def __del__(self) -> None:
            send(signal.SIGTERM)

    with listening(acts_at_once=True), pytest.raises(Interrupted):
        Cell()
        time.sleep(10)
    assert capsys.readouterr().err == ""


def test_what_came_to_a_training_does_not_act_again_after_it() -> None:
    with listening(acts_at_once=True) as outer:
        with listening():
            send(signal.SIGTERM)
        assert outer.is_asked
        send(signal.SIGTERM)


def test_a_process_that_was_told_not_to_hear_of_its_terminal_does_not() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with listening() as request:
            send(signal.SIGHUP)
            assert not request.is_asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_third_ctrl_c_ends_the_process() -> None:
    code = """
import os, signal
from beit_exp.errors import Interrupted
from beit_exp.train import stop
stop.AGAIN_S = -1.0
with stop.listening():
    os.kill(os.getpid(), signal.SIGINT)
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except Interrupted:
        os.kill(os.getpid(), signal.SIGINT)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


APART = """
import ctypes, os, signal, threading, time
from beit_exp.errors import Interrupted
from beit_exp.hardware.process import hear_interrupts_apart
from beit_exp.train import stop

hear_interrupts_apart()
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
stop.AGAIN_S = 0.0

def take_over():
    "As MindSpore does whenever it runs a graph."
    become_sigterm = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda _: os.kill(os.getpid(), 15))
    ctypes.CDLL(None).signal(signal.SIGINT, become_sigterm)
    return become_sigterm

def press():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)

with stop.listening() as request:
    kept = take_over()
    press()
    assert request.signal_number == signal.SIGINT, request.signal_number
    try:
        press()
        raise SystemExit("the second did not act")
    except Interrupted as stopped:
        assert stopped.signal_number == signal.SIGINT
    press()
"""


def test_ctrl_c_is_heard_whatever_handler_a_library_has_set() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", APART], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (130, "")
