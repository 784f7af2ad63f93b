"""The size of the house: files, lines, statements, and what is larger than the rules allow.

    python -m benchmarks.house [--rooms]

Python files only. Lines are all lines, as ``wc -l`` counts them. Statements are the nodes of the
syntax tree that are statements, without docstrings: a figure that comments and line breaks do not
change. A function's lines go from its ``def`` to its last, with the docstring, without decorators.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CODE: Final = ROOT / "django_sse"
TESTS: Final = ROOT / "tests"
FUNCTION_LINES: Final = 30
FILE_LINES: Final = 350
SETTINGS: Final = "Settings"

Function = ast.FunctionDef | ast.AsyncFunctionDef
DOCUMENTED: Final = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class File:
    """One file, measured."""

    path: Path
    lines: int
    tree: ast.Module

    @classmethod
    def read(cls, path: Path) -> File:
        """The file at ``path``."""
        text = path.read_text()
        return cls(path, text.count("\n"), ast.parse(text))

    @property
    def name(self) -> str:
        """Its path from the top of the repository."""
        return str(self.path.relative_to(ROOT))

    def statements(self) -> int:
        """How many statements it has; a docstring is none."""
        count = sum(isinstance(node, ast.stmt) for node in ast.walk(self.tree))
        docstrings = sum(
            isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None
            for node in ast.walk(self.tree)
        )
        return count - docstrings

    def long_functions(self) -> Iterator[tuple[str, int]]:
        """The functions with more lines than the rules allow: where, and how many."""
        for node in ast.walk(self.tree):
            if isinstance(node, Function) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES:
                    yield f"{self.name}:{node.name}", lines

    def settings(self) -> int:
        """The fields of the class that declares the settings, and of its groups' classes, where it
        stands in this file."""
        classes = {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}

        def leaves(name: str) -> int:
            kinds = [
                statement.annotation.id if isinstance(statement.annotation, ast.Name) else ""
                for statement in classes[name].body
                if isinstance(statement, ast.AnnAssign)
            ]
            return sum(leaves(kind) if kind in classes else 1 for kind in kinds)

        return leaves(SETTINGS) if SETTINGS in classes else 0


def read(directory: Path) -> list[File]:
    """All Python files below ``directory``."""
    paths = sorted(directory.rglob("*.py"))
    return [File.read(path) for path in paths if "node_modules" not in path.parts]


def lines_of(files: Iterable[File]) -> int:
    """All their lines."""
    return sum(file.lines for file in files)


def too_large(files: Iterable[File]) -> tuple[dict[str, int], dict[str, int]]:
    """The functions and the files that are larger than the rules allow."""
    files = list(files)
    functions = dict(found for file in files for found in file.long_functions())
    return functions, {file.name: file.lines for file in files if file.lines > FILE_LINES}


def report_part(title: str, files: Sequence[File]) -> Iterator[str]:
    """Return the figures of the code, or of the tests."""
    functions, long_files = too_large(files)
    yield f"{title}"
    yield f"  files                      {len(files):7,}"
    yield f"  lines                      {lines_of(files):7,}"
    yield f"  statements                 {sum(file.statements() for file in files):7,}"
    yield f"  functions over {FUNCTION_LINES} lines    {len(functions):7,}"
    yield f"  files over {FILE_LINES} lines       {len(long_files):7,}"
    yield from (f"    {name}: {lines}" for name, lines in {**functions, **long_files}.items())


def report_rooms(top: Path, files: Sequence[File]) -> Iterator[str]:
    """A Markdown table of the rooms of ``top``; what lies in none of them is one more."""
    rooms: dict[str, list[File]] = {}
    for file in files:
        parts = file.path.relative_to(top).parts
        rooms.setdefault(f"{parts[0]}/" if len(parts) > 1 else "(top)", []).append(file)
    yield f"| {top.name} | files | lines | statements |"
    yield "|---|--:|--:|--:|"
    for room, members in sorted(rooms.items(), key=lambda each: -lines_of(each[1])):
        statements = sum(file.statements() for file in members)
        yield f"| {room} | {len(members)} | {lines_of(members):,} | {statements:,} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.house")
    parser.add_argument("--rooms", action="store_true", help="a table of the rooms, too")
    options = parser.parse_args(arguments)
    code, tests = read(CODE), read(TESTS)
    print("\n".join(report_part("django_sse", code)))
    print(f"  settings                   {sum(file.settings() for file in code):7,}")
    print("\n".join(report_part("tests", tests)))
    print(f"  lines to lines of code     {lines_of(tests) / lines_of(code):7.2f}")
    if options.rooms:
        for top, files in ((CODE, code), (TESTS, tests)):
            print("", *report_rooms(top, files), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
