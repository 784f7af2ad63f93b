"""The mutation operators: each makes one small mistake of one node of the syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

NEGATED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
MOVED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}
# Not | and &: those of types, which fail at import, are not told from those of numbers and sets.
OTHER_ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}

Mutation = tuple[str, ast.AST]


def mutations(node: ast.AST) -> Iterator[Mutation]:
    """Every mutation of ``node`` itself: the operator's name, and what takes the node's place."""
    if isinstance(node, ast.stmt):
        yield from _of_statement(node)
    elif isinstance(node, ast.Compare):
        yield from _of_comparison(node)
    elif isinstance(node, ast.BinOp):
        other = OTHER_ARITHMETIC.get(type(node.op))
        if other is not None:
            yield "arithmetic", ast.BinOp(node.left, other(), node.right)
    elif isinstance(node, ast.BoolOp):
        op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield "and-or", ast.BoolOp(op, node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not", node.operand
    elif isinstance(node, ast.Constant):
        yield from _of_constant(node)
    elif isinstance(node, ast.JoinedStr):
        yield "string", ast.Constant("")


def _of_comparison(node: ast.Compare) -> Iterator[Mutation]:
    """The first comparison of a chain, negated and moved by one."""
    for name, table in (("compare", NEGATED), ("boundary", MOVED)):
        other = table.get(type(node.ops[0]))
        if other is not None:
            yield name, ast.Compare(node.left, [other(), *node.ops[1:]], node.comparators)


def _of_constant(node: ast.Constant) -> Iterator[Mutation]:
    value = node.value
    if isinstance(value, bool):
        yield "bool", ast.Constant(not value)
    elif isinstance(value, int | float):
        yield "number", ast.Constant(value + 1)
    elif isinstance(value, str | bytes) and value:
        yield "string", ast.Constant(type(value)())


def _of_statement(node: ast.stmt) -> Iterator[Mutation]:
    if isinstance(node, ast.Break):
        yield "break", ast.Continue()
    elif isinstance(node, ast.Continue):
        yield "continue", ast.Break()
    elif isinstance(node, ast.Return):
        # None in the place of False changes next to nothing.
        if node.value is not None and not _is_nothing(node.value):
            yield "return", ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Expr):
        value = node.value.value if isinstance(node.value, ast.Await) else node.value
        if isinstance(value, ast.Call):
            yield "call", ast.Pass()
    elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
        yield from _of_assignment(node)


def _is_nothing(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and (node.value is None or node.value is False)


def _of_assignment(node: ast.Assign | ast.AugAssign | ast.AnnAssign) -> Iterator[Mutation]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    if node.value is not None and all(isinstance(each, ast.Attribute) for each in targets):
        yield "assign", ast.Pass()
    if isinstance(node, ast.AugAssign):
        other = OTHER_ARITHMETIC.get(type(node.op))
        if other is not None:
            yield "arithmetic", ast.AugAssign(node.target, other(), node.value)
