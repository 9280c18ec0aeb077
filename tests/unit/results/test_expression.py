"""Expressions: what they mean, and that nothing but comparisons is read from a text, whatever it is."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hpo.errors import SpecError
from hpo.results.condition import Column, matching
from hpo.results.expression import ALLOWED, MOST_CHARACTERS, parse

TIME = datetime(2026, 11, 28, 12)
COLUMNS: Mapping[str, Column] = {
    "optimizer": Column(["adam", "sgd", "adam", None]),
    "lr": Column([0.1, 0.01, 0.001, 0.5]),
    "depth": Column([1, 2, 3, 4]),
    "momentum": Column([None, 0.9, None, 0.5]),
    "batch_norm": Column([True, False, None, True]),
    "hidden": Column([[64, 64], [32], [64, 64], None]),
    "warmup": Column([None, "auto", 10, 20]),
    "state": Column(["complete", "failed", "pruned", "complete"], words=("complete", "failed", "pruned", "running")),
    "cause": Column([None, "error: out of memory", None, None]),
    "started": Column([TIME, TIME.replace(day=29), TIME.replace(month=12), None], is_time=True),
    "optim.lr": Column([1, 2, 3, 4]),
    "val/loss": Column([4.0, 3.0, 2.0, 1.0]),
    "clf__depth": Column([1, 1, 2, 2]),
    "empty": Column([None] * 4),
}


def chosen(text: str, columns: Mapping[str, Column] = COLUMNS) -> list[int]:
    expression = parse(text, option="--where")
    return matching(expression, {name: columns[name] for name in expression.names}, 4)


def refusal(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        chosen(text)
    return str(caught.value).removesuffix(f". {ALLOWED}")


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("optimizer == 'adam'", [0, 2]),
        ("optimizer != 'adam'", [1]),
        ("optimizer == 'adam' and lr < 0.05", [2]),
        ("optimizer == 'sgd' or depth == 4", [1, 3]),
        ("not optimizer == 'adam'", [1, 3]),
        ("1 < depth <= 3", [1, 2]),
        ("depth in [1, 4.0]", [0, 3]),
        ("depth in (1, 4)", [0, 3]),
        ("depth not in [1, 4]", [1, 2]),
        ("depth in []", []),
        ("optimizer in ['sgd', None]", [1, 3]),
        ("momentum > 0.6", [1]),
        ("momentum != 0.9", [3]),
        ("momentum not in [0.9]", [3]),
        ("not momentum > 0.6", [0, 2, 3]),
        ("momentum is None", [0, 2]),
        ("momentum == None", [0, 2]),
        ("None != momentum", [1, 3]),
        ("momentum is not None", [1, 3]),
        ("batch_norm", [0, 3]),
        ("not batch_norm", [1, 2]),
        ("batch_norm == False", [1]),
        ("hidden == [64, 64]", [0, 2]),
        ("hidden in [[32], [1]]", [1]),
        ("warmup == 'auto'", [1]),
        ("warmup > 10", [3]),
        ("warmup == 10", [2]),
        ("'memory' in cause", [1]),
        ("'memory' not in cause", []),
        ("state == 'complete' and not batch_norm == False", [0, 3]),
        ("started >= '2026-11-29'", [1, 2]),
        ("'2026-11-28' <= started < '2026-11-29'", [0]),
        ("started == '2026-11-28 13:00+01:00'", [0]),
        ("started < '2026-11-28T12:00:00Z'", []),
        ("lr * 10 == depth", [0]),
        ("-lr < -0.05 and +depth > 0", [0, 3]),
        ("depth / (depth - 1) > 1.4", [1, 2]),
        ("momentum + 1 > 1.6", [1]),
        ("depth == -1 * -2", [1]),
        ("optim.lr >= 3", [2, 3]),
        ("`val/loss` < 2.5 and `lr` > 0", [2, 3]),
        ("clf__depth == 2", [2, 3]),
        ("empty == 'x' or empty > 3", []),
        ("True", [0, 1, 2, 3]),
        ("depth == 1\n or\n depth == 2", [0, 1]),
        ("'`lr`' == optimizer or '\\'' == optimizer", []),
    ],
)
def test_trials_are_chosen_by_what_an_expression_says(text: str, places: list[int]) -> None:
    assert chosen(text) == places


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--where: is empty"),
        ("lr <", "--where: lr <: something is missing at its end"),
        ("(lr < 1", "--where: character 1, (lr < 1: '(' was never closed"),
        ("lr = 1", "--where: character 4, =: write == to compare"),
        ("lr < 1 AND depth > 1", "--where: character 8, AND: write 'and' in small letters"),
        ("lr < 1 && depth > 1", "--where: character 8, &&: write 'and' for &&"),
        ("lr <> 1", "--where: character 4, <>: write != for <>"),
        ("optimizer LIKE 'a'", "--where: character 11, LIKE: write 'part' in NAME for LIKE"),
        ("(lr < 1) & (depth > 1)", "--where: character 1, (lr < 1) & (depth > 1): & is not allowed; write 'and'"),
        ("~batch_norm", "--where: character 1, ~batch_norm: ~ is not allowed; write 'not'"),
        ("lr is 3", "--where: character 1, lr is 3: 'is' compares with None only; write =="),
        ("lr", "--where: character 1, lr: is no condition: compare it with something, as in seconds < 60"),
        ("lr + 1", "--where: character 1, lr + 1: is no condition: compare it with something, as in seconds < 60"),
        ("None", "--where: character 1, None: is no condition: compare it with something, as in seconds < 60"),
        ("(lr < 1) == True", "--where: character 2, lr < 1: is a condition, not a value that can be compared"),
        ("optimizer == 3", "--where: character 1, optimizer: has texts, but 3 is a number"),
        ("lr < '0.1'", "--where: character 1, lr: has numbers, but '0.1' is a text; write it without quotes"),
        ("depth in [1, 'two']", "--where: character 1, depth: has numbers, but 'two' is a text"),
        ("batch_norm == 1", "--where: character 1, batch_norm: has True and False, but 1 is a number"),
        ("optimizer < lr", "--where: character 1, optimizer: has texts, but lr has numbers"),
        (
            "batch_norm < True",
            "--where: character 1, batch_norm: has True and False, which have no order: compare it with ==",
        ),
        ("optimizer + 1 > 2", "--where: character 1, optimizer: has texts: only numbers can be computed with"),
        (
            "momentum < None",
            "--where: character 1, momentum: cannot be less or more than None: write 'is None' or 'is not None'",
        ),
        (
            "state == 'completed'",
            "--where: character 10, 'completed': is never there, did you mean 'complete'? It is one of complete, "
            "failed, pruned, running",
        ),
        (
            "started > 'monday'",
            "--where: character 11, 'monday': is no time: write '2026-11-28' or '2026-11-28 12:00', in UTC unless it "
            "names another zone ('2026-11-28 12:00+02:00')",
        ),
        ("lr in [depth]", "--where: character 7, [depth]: is to be a list of values, without names of columns"),
        ("lr in depth", "--where: character 7, depth: is no list and no text: write NAME in [1, 2], or 'part' in NAME"),
        ("lr < 1e999", "--where: character 6, 1e999: the number is too large"),
        (f"lr < 1{'0' * 400}", f"--where: character 6, 1{'0' * 39}...: the number is too large"),
        ("lr == 1j", "--where: character 7, 1j: 'complex' is no kind of value here"),
        ("optimizer == b'adam'", "--where: character 14, b'adam': 'bytes' is no kind of value here"),
        ("lr < 1 " * 1000, f"--where: has {7 * 1000 - 1:,} characters; at most {MOST_CHARACTERS:,} are read"),
        ("not " * 100 + "batch_norm", "--where: is nested too deep; at most 50 levels are read"),
        ("(" * 300 + "lr" + ")" * 300 + " < 1", "--where: character 201, "),
        ("-" * 3000 + "lr < 1", "--where: is nested too deep; at most 50 levels are read"),
        ("lr < 1 \0", "--where: "),
        ("'\ud800' == optimizer", "--where: is no text that can be read: "),
    ],
)
def test_what_is_wrong_with_an_expression_is_said_with_its_place(text: str, message: str) -> None:
    assert refusal(text).startswith(message)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("__import__('os').system('true')", "a call is not allowed"),
        ("open('x')", "a call is not allowed"),
        ("lr.__class__ == 1", "an attribute is not allowed"),
        ("().__class__.__bases__", "an attribute is not allowed"),
        ("__builtins__ == 1", "a name that begins with __ is not allowed"),
        ("lr[0] == 1", "an index is not allowed"),
        ("[x for x in (1,)] == 1", "a loop is not allowed"),
        ("(lambda: 1)() == 1", "a call is not allowed"),
        ("(lambda: 1) == 1", "a function is not allowed"),
        ("f'{lr}' == 'x'", "a text that is computed is not allowed"),
        ("(x := 1) == 1", "an assignment is not allowed; == compares"),
        ("1 if lr else 2", "'if' is not allowed"),
        ("lr ** 9 ** 9 > 1", "** is not allowed"),
        ("{1: 2} == lr", "a mapping is not allowed"),
        ("{1} == lr", "a set is not allowed; a list is written [1, 2]"),
        ("[*optimizer] == lr", "* is not allowed here"),
        ("(yield) == 1", "Yield is not allowed"),
        ("await_ == 1 or (await lr)", "Await is not allowed"),
    ],
)
def test_code_is_refused_and_not_run(code: str, why: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(code)

    assert str(caught.value).removesuffix(f". {ALLOWED}").endswith(why)


# ---- properties

NUMBERS: Mapping[str, Sequence[Any]] = {"a": [0, 1, -2, 3], "b": [0.5, -1.5, 2.0, 3.0], "c": [None, 1, None, -4]}
COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
Meaning = tuple[str, Callable[[int], Any]]  # a text, and what it means of the trial at this place


def a_value() -> st.SearchStrategy[Meaning]:
    names = st.sampled_from(sorted(NUMBERS)).map(lambda name: (name, lambda place: NUMBERS[name][place]))
    constants = st.integers(-3, 3).map(lambda number: (str(number), lambda place: number))
    return st.recursive(
        names | constants, lambda inner: st.builds(computed, inner, st.sampled_from("+-*/"), inner), max_leaves=5
    )


def computed(left: Meaning, sign: str, right: Meaning) -> Meaning:
    operators = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}

    def value(place: int) -> float | None:
        one, other = left[1](place), right[1](place)
        if one is None or other is None or (sign == "/" and other == 0):
            return None
        return float(operators[sign](one, other))

    return f"({left[0]} {sign} {right[0]})", value


def compared(left: Meaning, sign: str, right: Meaning) -> Meaning:
    def holds(place: int) -> bool:
        one, other = left[1](place), right[1](place)
        return one is not None and other is not None and COMPARISONS[sign](one, other)

    return f"{left[0]} {sign} {right[0]}", holds


def a_condition() -> st.SearchStrategy[Meaning]:
    plain = st.builds(compared, a_value(), st.sampled_from(sorted(COMPARISONS)), a_value())
    return st.recursive(
        plain,
        lambda inner: st.one_of(
            inner.map(lambda one: (f"not ({one[0]})", lambda place: not one[1](place))),
            st.tuples(inner, inner).map(
                lambda two: (f"({two[0][0]}) and ({two[1][0]})", lambda place: two[0][1](place) and two[1][1](place))
            ),
            st.tuples(inner, inner).map(
                lambda two: (f"({two[0][0]}) or ({two[1][0]})", lambda place: two[0][1](place) or two[1][1](place))
            ),
        ),
        max_leaves=6,
    )


@given(a_condition())
def test_a_condition_means_what_its_parts_mean(condition: Meaning) -> None:
    text, holds = condition

    places = chosen(text, {name: Column(values) for name, values in NUMBERS.items()})

    assert places == [place for place in range(4) if holds(place)]


PIECES = st.sampled_from(
    [
        *(
            "lr",
            "optimizer",
            "state",
            "batch_norm",
            "hidden",
            "warmup",
            "started",
            "empty",
            "`val/loss`",
            "`",
            "'",
            '"',
        ),
        *("1", "0.5", "'adam'", "None", "True", "[1, 2]", "('a', None)", "'2026-11-28'", "nan", "1e308", "-1"),
        *("<", "<=", "==", "!=", "is", "is not", "in", "not in", "and", "or", "not", "+", "-", "*", "/", "**", "%"),
        *(
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ",",
            ":",
            ".",
            ":=",
            "lambda",
            "if",
            "else",
            "for",
            "f''",
            "\\",
            "\n",
            "\0",
            "é",
        ),
    ]
)


@given(st.lists(PIECES, max_size=12).map(" ".join) | st.text(max_size=60) | st.binary(max_size=40).map(repr))
@example("lr < 1 or `é` == 1")
@example("`é")
def test_any_text_is_an_expression_or_is_refused_in_words(text: str) -> None:
    try:
        parsed = parse(text)
        answer: list[int] | SpecError = matching(
            parsed, {name: COLUMNS.get(name, Column([None] * 4)) for name in parsed.names}, 4
        )
    except SpecError as error:
        answer = error

    assert str(answer).startswith("where: ") if isinstance(answer, SpecError) else set(answer) <= {0, 1, 2, 3}
