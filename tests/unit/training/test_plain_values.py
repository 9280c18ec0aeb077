"""Values with twins of plain types, which torch reads without running code, and those that are left out and named."""

from __future__ import annotations

import enum
import io
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from hpo.training.plain_values import restore, to_plain


class Level(enum.Enum):
    LOW = 1


class Rank(enum.IntEnum):
    FIRST = 1


class Colour(enum.StrEnum):
    RED = "red"


class Marked(torch.Tensor):
    pass


Pair = namedtuple("Pair", "a b")  # what a user may have


def through_a_file(value: Any) -> tuple[Any, list[str]]:
    """The value as it is read again, and what was left out."""
    plain = to_plain(value)
    file = io.BytesIO()
    torch.save([plain.value, plain.twins], file)
    file.seek(0)
    return restore(*torch.load(file, weights_only=True)), [str(left_out) for left_out in plain.left_out]


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3)[:, ::-1],
        np.array(5, np.uint16),
        np.zeros((0, 3), np.float16),
        np.array([1, 2], ">i4"),
        np.array([True, False]),
        np.array([1 + 2j]),
        np.array(["a", "bcd"]),
        np.array([[None, "a"], [2, 3.5]], object),
        np.array("2020-01-01", "M8[D]"),
        np.array([3, 4], "m8[s]"),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_an_array_comes_back_as_it_was(array: np.ndarray[Any, Any]) -> None:
    again, left_out = through_a_file({"a": [array]})

    assert left_out == []
    assert (again["a"][0].dtype, again["a"][0].shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(again["a"][0], array)


@pytest.mark.parametrize(
    ("value", "twin"),
    [
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (Rank.FIRST, 1),
        (Colour.RED, "red"),
        (Pair(1, 2), (1, 2)),
        (defaultdict(int, a=1), {"a": 1}),
        ({np.int64(3): 1}, {3: 1}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_numbers_and_subclasses_become_plain(value: Any, twin: Any) -> None:
    again, left_out = through_a_file([value])

    assert (again, left_out) == ([twin], [])
    assert type(again[0]) is type(twin)


@pytest.mark.parametrize(
    "value",
    [
        Path("a/b"),
        frozenset({1, Path("a")}),
        {Path("a"), b""},
        deque([Path("a"), 2], 5),
        (Path("a"), [(Path("b"), 1)]),
        Counter("aab"),
        {"a": {1, 2}, "b": (1, 2.5, None, b"x", 1j, float("inf"))},
        torch.float16,
        torch.Size([1, 2]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_types_come_back_as_they_were(value: Any) -> None:
    assert through_a_file({"a": value}) == ({"a": value}, [])


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (nn.ReLU(), "a (torch.nn.modules.activation.ReLU)"),
        (nn.ReLU, "a (the class torch.nn.modules.activation.ReLU)"),
        (nn.functional.relu, "a (the function torch.nn.functional.relu)"),
        (Level.LOW, f"a ({__name__}.Level)"),
        (np.longdouble(1), "a (numpy.longdouble)"),
        ([1, nn.ReLU()], "a.1 (torch.nn.modules.activation.ReLU)"),
        ({Level.LOW: 1}, f"a.Level.LOW ({__name__}.Level)"),
        (np.array([(1, 2)], "i4,i4"), "a (numpy.ndarray)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_twin_is_left_out_and_named(value: Any, what: str) -> None:
    again, left_out = through_a_file({"a": value, "b": 1})

    assert left_out == [what]
    assert again["b"] == 1
    assert not again.get("a")


def test_a_list_that_contains_itself_is_left_out() -> None:
    circle: list[Any] = [1]
    circle.append(circle)

    again, left_out = through_a_file({"a": circle, "b": [[1], [1]]})

    assert (again, left_out) == ({"b": [[1], [1]]}, ["a.1 (list, it contains itself)"])


def test_every_kind_of_tensor_keeps_its_numbers() -> None:
    weights, noted = torch.ones(2, requires_grad=True), torch.ones(2)
    noted.note = object()  # type: ignore[attr-defined]

    again, left_out = through_a_file([weights * 2, noted, noted.as_subclass(Marked), nn.Parameter(noted)])

    assert left_out == []
    assert [tensor.tolist() for tensor in again] == [[2, 2], [1, 1], [1, 1], [1, 1]]
    assert {type(tensor) for tensor in again} == {torch.Tensor, nn.Parameter}


def test_a_state_dict_is_not_copied_and_keeps_its_versions() -> None:
    state = nn.BatchNorm1d(3).state_dict()

    assert to_plain({"state_dict": state, "array": np.zeros(1)}).value["state_dict"] is state
    mixed: OrderedDict[str, Any] = OrderedDict(state, extra=np.zeros(1))
    vars(mixed).update(vars(state))
    again, _ = through_a_file(mixed)
    assert again._metadata == state._metadata


def test_a_value_is_not_changed_by_making_it_plain() -> None:
    value: dict[str, Any] = {"a": [np.ones(1), nn.ReLU(), (Path("a"),)], "b": nn.ReLU}
    before = [*value["a"]], dict(value)

    to_plain(value)

    assert all(a is b for a, b in zip(value["a"], before[0], strict=True))
    assert value == before[1]


_ATOMS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text() | st.binary()
_KEYS = st.text() | st.integers(-5, 5)
_VALUES = st.recursive(
    _ATOMS | st.builds(Path, st.sampled_from("abc")),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(_KEYS, inner)
        | st.frozensets(_ATOMS)
        | st.lists(inner).map(deque)
    ),
    max_leaves=12,
)


@given(_VALUES)
def test_any_nesting_comes_back_as_it_was(value: Any) -> None:
    assert through_a_file(value) == (value, [])


@given(st.lists(st.tuples(st.lists(_KEYS | st.none()), st.sampled_from(["array", "tuple", "path", "?"]), _ATOMS)))
def test_notes_about_twins_that_do_not_fit_are_ignored(notes: list[Any]) -> None:
    value = {"a": [1, "b"], 0: {"c": 1.5}}

    restore(value, [[list(place), kind, detail] for place, kind, detail in notes])
