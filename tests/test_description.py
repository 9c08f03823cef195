"""The description of the package, as an index of packages shows it."""

from __future__ import annotations

from pathlib import Path

from document_form import wrong_address
from documents import read_page
from settings import ROOT

from setup import describe

TEXT = """# Title

<picture>
  <source srcset="dark.png">
  <img src="light.png" alt="Curves">
</picture>

See [sweeps](beit_exp/launch/README.md#grids), [`conf`](conf) and [BEiT](https://arxiv.org/a).
Also [own data][data], [BEiT v2][v2].
![A table](table.png)

```bash
python launch.py 'a=[1](2)'
```

[data]: beit_exp/data/README.md
[v2]: https://arxiv.org/b
"""


def test_links_within_the_repository_become_text_and_pictures_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(TEXT)
    assert describe(tmp_path) == (
        "# Title\n\n\nSee sweeps, `conf` and [BEiT](https://arxiv.org/a).\n"
        "Also own data, [BEiT v2][v2].\n\n```bash\npython launch.py 'a=[1](2)'\n```\n\n"
        "[v2]: https://arxiv.org/b\n"
    )


def test_the_changes_follow_the_readme(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Title\n")
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n")
    assert describe(tmp_path) == "# Title\n\n# Changes\n"


def test_nothing_in_the_description_is_dead_on_an_index() -> None:
    page = read_page("description.md", describe(ROOT))
    assert page.pictures == []
    assert [link.text for link in page.links if wrong_address(link.text)] == []
    assert len(page.text) > 1000
