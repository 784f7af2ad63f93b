"""Where a mutant can be made, and the choice among them.

A site is known by what it is and not by where it is: its function's qualified name, the operator,
and the normalised source of the expression it stands in. So code that moves unchanged, within its
file or into another one, has the same mutants under the same seed.
"""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.mutants.operators import mutations

MODULE: Final = "<module>"
# A string in them is a type or a name, not a value.
OF_TYPES: Final = ("cast", "TypeVar", "ParamSpec", "NewType")
DECLARATIONS: Final = ("__all__", "__slots__")


@dataclass(frozen=True, slots=True)
class Site:
    """One mutant: what stands there, and what will."""

    file: str
    function: str
    operator: str
    key: str
    """The mutant's identity, which does not depend on its place."""
    start: tuple[int, int]
    end: tuple[int, int]
    """Line, counted from 1, and byte in the line."""
    before: str
    after: str

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.file}:{self.function}:{self.operator}: {self.before} -> {self.after}"

    def rank(self, seed: int) -> str:
        """Its place among all sites: by chance, always the same for one seed."""
        return hashlib.sha256(f"{seed}\n{self.key}".encode()).hexdigest()

    def mutate(self, text: str) -> str:
        """The file's ``text`` with the mistake in it."""
        lines = text.encode().splitlines(keepends=True)
        (first, from_byte), (last, to_byte) = self.start, self.end
        head = b"".join(lines[: first - 1]) + lines[first - 1][:from_byte]
        tail = lines[last - 1][to_byte:] + b"".join(lines[last:])
        return (head + self.after.encode() + tail).decode()


@dataclass(frozen=True, slots=True)
class Place:
    """Where the walk is: the qualified name of the function, and the outermost expression."""

    function: str
    within: ast.expr | None = None

    def inside(self, node: ast.AST) -> Place:
        """The place of the children of ``node``."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            outer = "" if self.function == MODULE else f"{self.function}."
            return Place(f"{outer}{node.name}")
        if isinstance(node, ast.expr) and self.within is None:
            return Place(self.function, node)
        return self


def walk(node: ast.AST, place: Place) -> Iterator[tuple[ast.AST, Place]]:
    """The nodes below ``node`` that may be mutated, each with its place."""
    inner = place.inside(node)
    for child in children(node):
        yield child, inner
        yield from walk(child, inner)


def children(node: ast.AST) -> Iterator[ast.AST]:
    """The children that run and that matter: no annotations, decorators, docstrings or logging."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        found: Iterable[ast.AST | None] = (*node.args.defaults, *node.args.kw_defaults, *node.body)
    elif isinstance(node, ast.ClassDef):
        found = node.body
    elif isinstance(node, ast.AnnAssign):
        found = [node.value]
    elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        found = node.orelse
    elif isinstance(node, ast.JoinedStr) or is_of_types(node):
        found = []
    else:
        found = ast.iter_child_nodes(node)
    return (child for child in found if child is not None and not is_skipped(child))


def is_of_types(node: ast.AST) -> bool:
    """Whether what is inside is for type checkers alone."""
    if isinstance(node, ast.Subscript):
        return ast.unparse(node.value) == "Literal"
    return isinstance(node, ast.Call) and ast.unparse(node.func) in OF_TYPES


def is_skipped(node: ast.AST) -> bool:
    """Whether ``node`` is a docstring, a logging call or a declaration of names."""
    if isinstance(node, ast.Expr):
        value = node.value
        return isinstance(value, ast.Constant) or (
            isinstance(value, ast.Call) and ast.unparse(value.func).startswith("logger.")
        )
    if isinstance(node, ast.Assign):
        names = [ast.unparse(target) for target in node.targets]
        return names[0] in DECLARATIONS or ast.unparse(node.value).startswith("logging.")
    return False


def sites_of(path: Path, root: Path) -> Iterator[Site]:
    """Every mutant of the file at ``path``."""
    text = path.read_text()
    tree = ast.parse(text)
    seen: Counter[str] = Counter()
    for node, place in walk(tree, Place(MODULE)):
        for operator, mutant in mutations(node):
            assert isinstance(node, ast.expr | ast.stmt)
            whole = ast.unparse(place.within or node)
            key = "\n".join((place.function, operator, whole, ast.unparse(node)))
            # The second of two alike in one function is another mutant.
            seen[key] += 1
            made = make(node, place, operator, mutant, f"{key}\n{seen[key]}", path, root)
            if is_code(made.mutate(text)):
                yield made


def make(
    node: ast.expr | ast.stmt,
    place: Place,
    operator: str,
    mutant: ast.AST,
    key: str,
    path: Path,
    root: Path,
) -> Site:
    """The site of one mutation."""
    after = ast.unparse(mutant)
    return Site(
        file=str(path.relative_to(root)),
        function=place.function,
        operator=operator,
        key=key,
        start=(node.lineno, node.col_offset),
        end=(node.end_lineno or node.lineno, node.end_col_offset or node.col_offset),
        before=ast.unparse(node),
        after=f"({after})" if isinstance(mutant, ast.expr) else after,
    )


def is_code(text: str) -> bool:
    """Whether Python accepts it."""
    try:
        compile(text, "<mutant>", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


def choose(files: Iterable[Path], root: Path, count: int, seed: int) -> list[Site]:
    """``count`` mutants of the ``files``, by chance, the same for the same code and seed."""
    found = [site for path in files for site in sites_of(path, root)]
    return sorted(found, key=lambda site: (site.rank(seed), site.file))[:count]
