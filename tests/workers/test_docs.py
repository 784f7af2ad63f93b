"""What `docs/workers.md` shows is what the tests here run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs" / "workers.md"
BLOCK = re.compile(r"```python\n# (reports/[\w/]+\.py)\b[^\n]*\n(.*?)```", re.DOTALL)
BLOCKS: list[tuple[str, str]] = BLOCK.findall(PAGE.read_text())


@pytest.mark.parametrize(("path", "block"), BLOCKS, ids=[path for path, _ in BLOCKS])
def test_the_page_shows_what_is_tested(path: str, block: str) -> None:
    source = (HERE / path).read_text()
    # The imports are those that a reader needs.
    for part in block.rstrip().split("\n\n"):
        if not part.startswith(("from ", "import ")):
            assert part in source


def test_the_page_shows_every_way() -> None:
    assert {Path(path).stem for path, _ in BLOCKS} >= {
        "models",
        "jobs",
        "views",
        "tasks",
        "background",
        "write_report",
        "import_rows",
        "finish_lost_reports",
    }
