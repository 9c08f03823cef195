from __future__ import annotations

import numpy as np
import pytest
from settings import OFFICIAL

from beit_exp.weights.torch_file import read_torch_file


@pytest.fixture(scope="session")
def official() -> dict[str, np.ndarray]:
    """The tensors of the small BEiT under their official names."""
    return read_torch_file(OFFICIAL)
