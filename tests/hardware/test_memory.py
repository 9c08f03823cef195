"""Errors that say that memory lacks, and those that do not."""

from __future__ import annotations

import numpy as np
import pytest
from bare_kernels import NO_MEMORY, WRONG_ARGUMENTS

from beit_exp.hardware.memory import are_threads_refused, is_memory_refused

TOLD = "Return value from CPU AOT kernel(/a b/_native.so)'s function(gelu) is {}. Any return value"


@pytest.mark.parametrize(
    ("error", "is_refused"),
    [
        (RuntimeError("Allocate memory failed\n\n- C++ Call Stack"), True),
        (RuntimeError(TOLD.format(NO_MEMORY)), True),
        (RuntimeError(TOLD.format(WRONG_ARGUMENTS)), False),
        (MemoryError(), True),
        (ValueError("Allocate memory failed"), False),
        (ImportError("x.so: failed to map segment from shared object"), True),
        (ImportError("x.so: failed to map segment: Operation not permitted"), False),
        (RuntimeError("Resource temporarily unavailable"), False),
    ],
)
def test_only_a_lack_of_memory_is_told_as_one(error: Exception, is_refused: bool) -> None:
    assert is_memory_refused(error) is is_refused


def test_a_thread_that_could_not_be_started_is_told_as_such() -> None:
    assert are_threads_refused(RuntimeError("can't start new thread"))
    assert are_threads_refused(RuntimeError("Resource temporarily unavailable"))
    assert not are_threads_refused(BlockingIOError(11, "Resource temporarily unavailable"))


def test_numpy_tells_it_as_python_does() -> None:
    with pytest.raises(MemoryError) as caught:
        np.empty(1 << 60, np.uint8)
    assert is_memory_refused(caught.value)
