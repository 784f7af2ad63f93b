"""The table of promises in docs/client.md says what these tests try, and where."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

from tests import ROOT
from tests.integration.browser.engines import ENGINES


def promises() -> dict[str, list[str]]:
    """Of each promise of the client, and each engine: "yes", or why no test tries it there."""
    found: dict[str, list[str]] = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = import_module(f"{__package__}.{path.stem}")
        for test in vars(module).values():
            marks = [*getattr(test, "pytestmark", []), *_list(getattr(module, "pytestmark", []))]
            cells = dict.fromkeys(ENGINES, "not tried") | {ENGINES[0]: "yes"}
            if any(mark.name == "every_engine" for mark in marks):
                cells = dict.fromkeys(ENGINES, "yes")
            for mark in marks:
                cells |= mark.kwargs if mark.name == "not_in" else {}
            found |= {
                mark.args[0]: list(cells.values()) for mark in marks if mark.name == "promise"
            }
    return found


def _list(marks: Any) -> list[Any]:
    return marks if isinstance(marks, list) else [marks]


def test_what_the_client_promises_is_in_the_table_for_each_engine():
    page = (ROOT / "docs" / "client.md").read_text()
    table = page.partition("| promise | Chromium | Firefox | WebKit |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (?!---)(.+?) \| (.+?) \| (.+?) \| (.+?) \|$", table, re.MULTILINE)
    assert {promise: cells for promise, *cells in rows} == promises()
