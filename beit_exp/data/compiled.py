"""Functions on pixels, compiled by numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """The same, compiled at its first call, or by an earlier process that could write it down.

    numba writes beside this package, or into the user's cache folder. A container may let it write
    to neither, which numba takes for an error; compiling anew costs a process some seconds, of all
    that RandAugment draws from ten.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # "no locator available": numba has no name for it
        return njit(nogil=True)(function)
