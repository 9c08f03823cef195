"""How near this project comes to the public originals, for the table at the end of the session."""

from __future__ import annotations

import numpy as np

AGREEMENT: dict[str, tuple[float, float]] = {}  # part -> largest difference, what is allowed


def agree(
    part: str, found: np.ndarray, expected: np.ndarray, *, within: float, relative: bool = False
) -> None:
    """Assert that two arrays agree, and keep the largest difference for the table at the end of the
    session.
    """
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, part
    difference = float(np.abs(found - expected).max() / (np.abs(expected).max() if relative else 1))
    AGREEMENT[part] = (max(difference, AGREEMENT.get(part, (0.0, 0.0))[0]), within)
    assert difference <= within, f"{part}: differs by {difference:.2g}, allowed {within:g}"
