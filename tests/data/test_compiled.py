from __future__ import annotations

from beit_exp.data.compiled import compiled
from beit_exp.data.resample import _sinc


def test_what_is_compiled_is_kept_for_the_next_process() -> None:
    assert _sinc.stats.cache_path


def test_where_nothing_can_be_kept_it_is_compiled_all_the_same() -> None:
    # numba keeps nothing of what stands in no file
    names: dict[str, object] = {}
    exec("def double(x):\n    return 2 * x", names)
    double = compiled(names["double"])
    assert double(21) == 42
    assert double.stats.cache_path is None
    assert double.nopython_signatures
