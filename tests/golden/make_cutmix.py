"""Make `cutmix_boxes.json` by the NumPy functions of timm 0.3.2, without this project or torch.

    pip download --no-deps --no-binary :all: timm==0.3.2 && tar xzf timm-0.3.2.tar.gz
    python tests/golden/make_cutmix.py timm-0.3.2/timm/data/mixup.py

The functions are taken from the file as they stand; NumPy's `randint` is watched for the centre
that they draw.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
FUNCTIONS = ("rand_bbox", "rand_bbox_minmax", "cutmix_bbox_and_lam")
SIDES = ((32, 32), (224, 224), (97, 61))
BOXES_OF_A_SIDE = 12


def functions(source: str, numpy: Any) -> dict[str, Any]:
    found = [node for node in ast.parse(source).body if getattr(node, "name", "") in FUNCTIONS]
    names: dict[str, Any] = {"np": numpy}
    exec(compile(ast.Module(found, []), "mixup.py", "exec"), names)
    return names


def make_boxes(source: str) -> list[dict[str, Any]]:
    rng = np.random.RandomState(0)
    drawn: list[int] = []

    def randint(*bounds: int, size: int | None) -> int:
        drawn.append(int(rng.randint(*bounds, size=size)))
        return drawn[-1]

    watched = SimpleNamespace(sqrt=np.sqrt, clip=np.clip, random=SimpleNamespace(randint=randint))
    box_and_lam = functions(source, watched)["cutmix_bbox_and_lam"]
    rows = []
    for height, width in SIDES:
        for _ in range(BOXES_OF_A_SIDE):
            drawn.clear()
            lam = float(rng.beta(1.0, 1.0))
            box, corrected = box_and_lam((3, height, width), lam)
            rows.append(
                {
                    "size": [height, width],
                    "lam": lam,
                    "center": list(drawn),
                    "box": [int(edge) for edge in box],
                    "corrected_lam": float(corrected),
                }
            )
    return rows


if __name__ == "__main__":
    rows = make_boxes(Path(sys.argv[1]).read_text())
    lines = ",\n  ".join(json.dumps(row) for row in rows)
    text = f'{{"made_by": "timm 0.3.2, NumPy {np.__version__}", "boxes": [\n  {lines}\n]}}\n'
    (HERE / "cutmix_boxes.json").write_text(text)
