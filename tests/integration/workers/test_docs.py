"""What `docs/workers.md` shows is what the tests here run, and it is whole."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import os
import re
import subprocess
import symtable
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT

HERE = Path(__file__).resolve().parent
PAGE = ROOT / "docs" / "workers.md"
BLOCK = re.compile(r"```python\n# (reports/[\w/]+\.py)\b[^\n]*\n(.*?)```", re.DOTALL)
BLOCKS: list[tuple[str, str]] = BLOCK.findall(PAGE.read_text())
# What the page has its reader replace. Here the test says what is written, and when.
OWN = "reports/pages.py"
TESTED = [(path, block) for path, block in BLOCKS if path != OWN]
FILES: dict[str, str] = defaultdict(str)
for _path, _block in BLOCKS:
    FILES[_path] += f"{_block}\n\n"

PROGRAM = """
from io import StringIO
from django.contrib.auth.models import User
from django.core.management import call_command
from reports.models import Report
from django_sse.testing import published

report = Report.objects.create(owner=User.objects.create())
call_command("write_report", str(report.pk))
print([type for type, _ in published(report.channel)])
reports.tasks.announce_payment(7)
reports.tasks.announce_payment(7)
print(len(published("order-7")))
call_command("finish_lost_reports")
"""


def imports(source: str) -> set[tuple[str, str]]:
    """Module and name of each."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {(each.name, "") for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found |= {(module, each.name) for each in node.names}
    return found


def unknown(table: symtable.SymbolTable, known: set[str]) -> Iterator[str]:
    """The global names that are used, and not `known`."""
    for symbol in table.get_symbols():
        if symbol.is_global() and symbol.get_name() not in known:
            yield symbol.get_name()
    for child in table.get_children():
        yield from unknown(child, known)


@pytest.mark.parametrize(("path", "block"), TESTED, ids=[path for path, _ in TESTED])
def test_the_page_shows_what_is_tested(path: str, block: str) -> None:
    source = (HERE / path).read_text().replace("tests.integration.workers.reports", "reports")
    for part in block.rstrip().split("\n\n"):
        if not part.lstrip().startswith(("from ", "import ")):
            assert part in source
    # `task` comes from elsewhere on Django 5.2; the page says so.
    assert {each for each in imports(block) if each[1] != "task"} <= imports(source)


@pytest.mark.parametrize("path", sorted(FILES))
def test_each_file_has_the_names_that_it_uses(path: str) -> None:
    table = symtable.symtable(FILES[path], path, "exec")
    defined = {each.get_name() for each in table.get_symbols() if each.is_assigned()}
    defined |= {each.get_name() for each in table.get_symbols() if each.is_imported()}
    defined |= {each.get_name() for each in table.get_symbols() if each.is_namespace()}
    assert set(unknown(table, defined | set(dir(builtins)))) == set()


def test_the_page_shows_every_way() -> None:
    assert {Path(path).stem for path, _ in BLOCKS} >= {
        "models",
        "pages",
        "jobs",
        "views",
        "urls",
        "tasks",
        "background",
        "write_report",
        "import_rows",
        "finish_lost_reports",
    }


def run(project: Path, *args: str) -> str:
    others = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_")}
    done = subprocess.run(
        [sys.executable, *args],
        cwd=project,
        env=others,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def follow(project: Path) -> None:
    """Puts the files where the page says."""
    for path, text in FILES.items():
        if importlib.util.find_spec("django.tasks") is None:
            text = text.replace("from django.tasks ", "from django_tasks ")
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(text)
    with (project / "mysite" / "settings.py").open("a") as settings:
        settings.write('INSTALLED_APPS += ["django_sse", "reports"]\n')
        settings.write('ROOT_URLCONF = "reports.urls"\n')


def test_who_follows_the_page_has_a_report(tmp_path: Path) -> None:
    run(tmp_path, "-m", "django", "startproject", "mysite", ".")
    follow(tmp_path)
    run(tmp_path, "manage.py", "makemigrations", "reports", "-v0")
    run(tmp_path, "manage.py", "migrate", "-v0")
    # The modules that a worker imports.
    program = f"import reports.tasks, reports.background{PROGRAM}"
    types = ["started", "page", "page", "page", "close"]
    assert run(tmp_path, "manage.py", "shell", "-c", program).endswith(f"{types}\n1\n0 ended\n")
