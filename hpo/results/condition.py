"""Whether trials are such as an expression says: the tree becomes comparisons of columns, which are checked first.

A comparison with a missing value, such as that of an inactive parameter, is false; so is one of a text with a number,
where a column has both. Where a column can never have what it is compared with, that is an error.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from hpo.errors import SpecError, nearest
from hpo.results.expression import Expression
from hpo.space.values import equal, in_words, is_number

Row = Sequence[Any]  # a trial's values of the columns of the expression, in their order
Evaluate = Callable[[Row], Any]


class Kind(StrEnum):
    """Of values, in the words of messages."""

    NUMBER = "numbers"
    TEXT = "texts"
    BOOLEAN = "True and False"
    TIME = "times"
    LIST = "lists"

    @staticmethod
    def of(value: Any) -> Kind | None:
        """None of a missing value."""
        return None if value is None else _kind_of_type(type(value))


@dataclass(frozen=True)
class Column:
    """What is known of a column.

    Attributes:
        values: one a trial; None where it has none. Times are UTC, without a time zone.
        words: all texts that it can have; none where they are not known.
        is_time: its values are times, also when it has none.
    """

    values: Sequence[Any]
    words: tuple[str, ...] = ()
    is_time: bool = False

    @property
    def kinds(self) -> frozenset[Kind]:
        """Of its values."""
        types = set(map(type, self.values)) - {type(None)}
        return frozenset(map(_kind_of_type, types)) | ({Kind.TIME} if self.is_time else set())


def matching(expression: Expression, columns: Mapping[str, Column], trials: int) -> list[int]:
    """The places of the trials for which the expression holds.

    Args:
        columns: by the names that the expression uses.
        trials: their number.

    Raises:
        SpecError: it compares a column with what that can never have, or is no condition.
    """
    holds = _Reader(expression, columns).condition(expression.tree)
    rows = zip(*(columns[name].values for name in expression.names), strict=True) if columns else [()] * trials
    return [place for place, row in enumerate(rows) if holds(row)]


@dataclass(frozen=True)
class _Part:
    """A part of an expression that has a value.

    Attributes:
        kinds: that its values can be of; empty where it has none at all.
        words: all texts that it can have.
    """

    node: ast.expr
    kinds: frozenset[Kind]
    evaluate: Evaluate
    words: tuple[str, ...] = ()
    literal: Any = None
    is_literal: bool = False

    @property
    def is_none(self) -> bool:
        return self.is_literal and self.literal is None


class _Reader:
    """Turns the nodes of one expression into functions of a row."""

    def __init__(self, expression: Expression, columns: Mapping[str, Column]) -> None:
        self._expression = expression
        self._columns = columns
        self._places = {name: place for place, name in enumerate(expression.names)}

    def condition(self, node: ast.expr) -> Callable[[Row], bool]:
        """What holds or does not hold."""
        if isinstance(node, ast.BoolOp):
            parts = [self.condition(value) for value in node.values]
            if isinstance(node.op, ast.And):
                return lambda row: all(part(row) for part in parts)
            return lambda row: any(part(row) for part in parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self.condition(node.operand)
            return lambda row: not inner(row)
        if isinstance(node, ast.Compare):
            return self._comparisons(node)
        part = self._value(node)
        if part.kinds - {Kind.BOOLEAN} or part.is_none:
            raise self._error(node, "is no condition: compare it with something, as in seconds < 60")
        return lambda row: part.evaluate(row) is True

    def _comparisons(self, node: ast.Compare) -> Callable[[Row], bool]:
        """One, or a chain such as `1 <= depth < 3`."""
        operands = [node.left, *node.comparators]
        pairs = [
            self._comparison(left, compares, right)
            for left, compares, right in zip(operands, node.ops, node.comparators, strict=False)
        ]
        return pairs[0] if len(pairs) == 1 else lambda row: all(pair(row) for pair in pairs)

    def _comparison(self, left_node: ast.expr, compares: ast.cmpop, right_node: ast.expr) -> Callable[[Row], bool]:
        if isinstance(compares, ast.In | ast.NotIn):
            return self._membership(left_node, right_node, is_in=isinstance(compares, ast.In))
        left, right = self._value(left_node), self._value(right_node)
        if left.is_none or right.is_none:
            return self._with_none(left, compares, right)
        left, right = self._comparable(left, right)
        one, other = left.evaluate, right.evaluate
        if isinstance(compares, ast.Eq | ast.NotEq):
            is_plain = left.kinds == right.kinds and len(left.kinds) == 1 and Kind.LIST not in left.kinds
            same, wanted = operator.eq if is_plain else equal, isinstance(compares, ast.Eq)
            return lambda row: _both(one(row), other(row), same) is wanted
        for part in (left, right):
            if part.kinds and part.kinds <= {Kind.BOOLEAN, Kind.LIST}:
                raise self._error(part.node, f"has {_listed(part.kinds)}, which have no order: compare it with ==")
        ordered = _ORDERED[type(compares)]
        return lambda row: _both(one(row), other(row), ordered) is True

    def _with_none(self, left: _Part, compares: ast.cmpop, right: _Part) -> Callable[[Row], bool]:
        tested = right if left.is_none else left
        if isinstance(compares, ast.Eq | ast.Is):
            return lambda row: tested.evaluate(row) is None
        if isinstance(compares, ast.NotEq | ast.IsNot):
            return lambda row: tested.evaluate(row) is not None
        raise self._error(tested.node, "cannot be less or more than None: write 'is None' or 'is not None'")

    def _membership(self, left_node: ast.expr, right_node: ast.expr, *, is_in: bool) -> Callable[[Row], bool]:
        left = self._value(left_node)
        one = left.evaluate
        if isinstance(right_node, ast.List | ast.Tuple):
            others = [self._comparable(left, self._value(item))[1] for item in right_node.elts]
            if any(not other.is_literal for other in others):
                raise self._error(right_node, "is to be a list of values, without names of columns")
            listed = [other.literal for other in others]
            if is_in:
                return lambda row: _is_among(one(row), listed)
            return lambda row: (value := one(row)) is not None and not _is_among(value, listed)
        right = self._value(right_node)
        if right.kinds - {Kind.TEXT} or left.kinds - {Kind.TEXT} or right.is_none or left.is_none:
            raise self._error(right_node, "is no list and no text: write NAME in [1, 2], or 'part' in NAME")
        other = right.evaluate
        contains = operator.contains
        return lambda row: _both(other(row), one(row), contains) is is_in

    def _value(self, node: ast.expr) -> _Part:
        """What has a value: a column, a literal, or arithmetic."""
        if (name := self._expression.name_of(node)) is not None:
            column = self._columns[name]
            return _Part(node, column.kinds, operator.itemgetter(self._places[name]), column.words)
        if isinstance(node, ast.Constant):
            return _literal(node, node.value)
        if isinstance(node, ast.List | ast.Tuple):
            items = [self._value(item) for item in node.elts]
            if not all(item.is_literal for item in items):
                raise self._error(node, "is to be a list of values, without names of columns")
            return _literal(node, [item.literal for item in items])
        if isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not):
            return self._signed(node, self._number(node.operand))
        if isinstance(node, ast.BinOp):
            left, right = self._number(node.left).evaluate, self._number(node.right).evaluate
            compute = _ARITHMETIC[type(node.op)]
            return _Part(node, frozenset({Kind.NUMBER}), lambda row: _computed(left(row), right(row), compute))
        raise self._error(node, "is a condition, not a value that can be compared")

    def _signed(self, node: ast.UnaryOp, part: _Part) -> _Part:
        sign = -1 if isinstance(node.op, ast.USub) else 1
        if part.is_literal:
            return _literal(node, sign * part.literal)
        evaluate = part.evaluate
        return _Part(node, part.kinds, lambda row: sign * n if is_number(n := evaluate(row)) else None)

    def _number(self, node: ast.expr) -> _Part:
        """A part of arithmetic."""
        part = self._value(node)
        if part.is_none or (part.kinds and Kind.NUMBER not in part.kinds):
            raise self._error(node, f"has {_listed(part.kinds) or 'no value'}: only numbers can be computed with")
        return part

    def _comparable(self, left: _Part, right: _Part) -> tuple[_Part, _Part]:
        """Both, with texts as times where the other one is a time.

        Raises:
            SpecError: they can never be equal.
        """
        if left.kinds == {Kind.TIME} and right.kinds != {Kind.TIME}:
            right = self._time(right)
        elif right.kinds == {Kind.TIME} and left.kinds != {Kind.TIME}:
            left = self._time(left)
        elif left.kinds and right.kinds and not left.kinds & right.kinds:
            column, other = (right, left) if left.is_literal else (left, right)
            raise self._error(column.node, f"has {_listed(column.kinds)}, but {self._told(other)}")
        for column, other in ((left, right), (right, left)):
            if column.words and other.literal is not None and other.literal not in column.words:
                hint = nearest(str(other.literal), column.words)
                known = ", ".join(column.words)
                raise self._error(other.node, f"is never there{hint or '.'} It is one of {known}")
        return left, right

    def _time(self, part: _Part) -> _Part:
        if part.is_none or not part.kinds:
            return part
        if not part.is_literal or not isinstance(part.literal, str):
            raise self._error(part.node, f"is no time: {_TIMES}")
        try:
            moment = datetime.fromisoformat(part.literal.strip())
        except ValueError:
            raise self._error(part.node, f"is no time: {_TIMES}") from None
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
        return _literal(part.node, moment)

    def _told(self, part: _Part) -> str:
        """`'3' is a text`, with a hint where quotes are all that is wrong."""
        if not part.is_literal:
            return f"{self._expression.text_of(part.node)} has {_listed(part.kinds)}"
        kind = _ONE_OF[next(iter(part.kinds))]
        hint = "; write it without quotes" if _is_quoted_number(part.literal) else ""
        return f"{in_words(part.literal)} is {kind}{hint}"

    def _error(self, node: ast.expr, problem: str) -> SpecError:
        return self._expression.error(node, problem)


_ONE_OF = {
    Kind.NUMBER: "a number",
    Kind.TEXT: "a text",
    Kind.BOOLEAN: "True or False",
    Kind.TIME: "a time",
    Kind.LIST: "a list",
}
_TIMES = "write '2026-11-28' or '2026-11-28 12:00', in UTC unless it names another zone ('2026-11-28 12:00+02:00')"
_ORDERED: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _literal(node: ast.expr, value: Any) -> _Part:
    kind = Kind.of(value)
    return _Part(node, frozenset() if kind is None else frozenset({kind}), lambda row: value, (), value, True)


def _kind_of_type(kind: type) -> Kind:
    if issubclass(kind, bool):
        return Kind.BOOLEAN
    if issubclass(kind, int | float):
        return Kind.NUMBER
    if issubclass(kind, str):
        return Kind.TEXT
    return Kind.TIME if issubclass(kind, datetime) else Kind.LIST


def _both(one: Any, other: Any, compare: Callable[[Any, Any], bool]) -> bool | None:
    """Whether it holds for both; None where one of them is missing, or where they have no order."""
    if one is None or other is None:
        return None
    try:
        return compare(one, other)
    except TypeError:  # a column of a parameter that is a number in one trial, and a text in another
        return None


def _is_among(value: Any, listed: Sequence[Any]) -> bool:
    return any(equal(value, item) for item in listed)


def _computed(one: Any, other: Any, compute: Callable[[float, float], float]) -> float | None:
    """None where one of them is missing or no number, and of a division by zero."""
    if not (is_number(one) and is_number(other)):
        return None
    try:
        return compute(float(one), float(other))
    except (ZeroDivisionError, OverflowError):
        return None


def _listed(kinds: frozenset[Kind]) -> str:
    return " and ".join(sorted(kinds))


def _is_quoted_number(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        float(value)
    except ValueError:
        return value in ("True", "False")
    return True
