from __future__ import annotations

from pathlib import Path

from beit_exp.data.description import describe
from beit_exp.data.listing import list_classes


def test_a_data_set_is_known_by_its_names_and_sizes(few_digits: Path, tmp_path: Path) -> None:
    found = list_classes(few_digits / "val")
    facts = describe(found, name="digits", source="x", context="validation")
    assert (facts["images"], facts["classes"], len(facts["digest"])) == (50, 10, 32)
    elsewhere = tmp_path / "val"
    for path in found.paths:
        target = elsewhere / Path(path).relative_to(few_digits / "val")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(Path(path).read_bytes())
    moved = list_classes(elsewhere)
    assert describe(moved, name="digits", source="x", context="validation") == facts
    Path(moved.paths[7]).write_bytes(b"other")
    assert (
        describe(moved, name="digits", source="x", context="validation")["digest"]
        != facts["digest"]
    )
