"""Properties of every search space, every narrowing of it, and every point that a trial draws from it."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

import optuna
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.space import Choice, Float, Int, Parameter, Range, SearchSpace, Value, arguments_of

properties = settings(deadline=None, max_examples=30)

optuna.logging.set_verbosity(optuna.logging.WARNING)


@st.composite
def floats(draw: st.DrawFn) -> Float:
    low = draw(st.integers(-500, 500)) / 100
    width = draw(st.integers(0, 1000)) / 100
    kind = draw(st.sampled_from(["plain", "log", "grid"]))
    if kind == "log":
        low = 10.0 ** draw(st.integers(-8, 2))
        return Float(low, low * (1 + width), log=True)
    if kind == "grid" and width:
        step = draw(st.sampled_from([width, width / 2, width / 7, 0.01]))
        return Float(low, low + width + 0.001, step=round(step, 4) or None)
    return Float(low, low + width)


@st.composite
def ints(draw: st.DrawFn) -> Int:
    low, width = draw(st.integers(-50, 50)), draw(st.integers(0, 200))
    kind = draw(st.sampled_from(["plain", "log", "grid"]))
    if kind == "log":
        return Int(abs(low) + 1, abs(low) + 1 + width, log=True)
    return Int(low, low + width, step=draw(st.integers(1, max(width, 1))) if kind == "grid" else None)


def plain_values() -> st.SearchStrategy[Value]:
    finite = st.floats(allow_nan=False, allow_infinity=False)
    return st.one_of(st.text("aé' \n", max_size=3), st.integers(-(10**6), 10**6), finite, st.booleans(), st.none())


def choices() -> st.SearchStrategy[Choice]:
    # Equality as Python has it, because one Choice cannot hold both True and 1.
    several = st.lists(plain_values(), min_size=1, max_size=5, unique=True)
    return several.map(lambda values: Choice(*values))


def ranges() -> st.SearchStrategy[Range]:
    return st.one_of(floats(), ints(), choices())


def inside(range_: Range) -> st.SearchStrategy[Value]:
    if isinstance(range_, Choice):
        return st.sampled_from(range_.choices)
    if isinstance(range_, Int):
        return st.integers(range_.low, range_.high).map(range_.nearest)
    return st.floats(range_.low, range_.high).map(range_.nearest)


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    parameters: list[Parameter] = []
    for name in "abcdef"[: draw(st.integers(0, 6))]:
        range_ = draw(ranges())
        when = {}
        parents = [parameter for parameter in parameters if not isinstance(parameter.range, Float)]
        if parents:
            for parent in draw(st.lists(st.sampled_from(parents), max_size=2, unique_by=lambda p: p.name)):
                values = st.lists(inside(parent.range), min_size=1, max_size=3, unique=True)
                when[parent.name] = tuple(draw(values))
        has_default = draw(st.booleans())
        default = draw(inside(range_)) if has_default else None
        parameters.append(Parameter(name, range_, default=default, has_default=has_default, when=when))
    return SearchSpace(tuple(parameters))


@st.composite
def narrowings(draw: st.DrawFn, space: SearchSpace) -> dict[str, Any]:
    """What a study file might ask of the space, written as it would write it."""
    changes: dict[str, Any] = {}
    for name, parameter in space.items():
        range_ = parameter.range
        kind = draw(st.sampled_from(["none", "pin", "list", "bounds"]))
        if kind == "pin":
            changes[name] = draw(inside(range_))
        elif kind == "list":
            changes[name] = draw(st.lists(inside(range_), min_size=1, max_size=3, unique=True))
        elif kind == "bounds" and not isinstance(range_, Choice):
            low, high = sorted([draw(inside(range_)), draw(inside(range_))])  # type: ignore[type-var]
            changes[name] = {"low": low, "high": high}
    return changes


def drawn(space: SearchSpace, seed: int) -> dict[str, Value]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    point = space.suggest(trial)
    assert trial.params == point
    return point


def active_only(space: SearchSpace, params: dict[str, Value]) -> dict[str, Value]:
    kept: dict[str, Value] = {}
    for name, parameter in space.items():
        if name in params and parameter.is_active(kept):
            kept[name] = params[name]
    return kept


seeds = st.integers(0, 2**31)


@properties
@given(spaces(), seeds)
def test_every_suggestion_lies_in_its_range_and_on_its_grid(space: SearchSpace, seed: int) -> None:
    point = drawn(space, seed)

    assert space.problems(point) == []
    for name, value in point.items():
        range_ = space[name].range
        if isinstance(range_, Float | Int):
            assert isinstance(value, float if isinstance(range_, Float) else int)
            assert range_.low <= value <= range_.high
            steps = (value - range_.low) / range_.step if range_.step else 0.0
            assert math.isclose(steps, round(steps), abs_tol=1e-8)
        else:
            assert any(type(value) is type(choice) and value == choice for choice in range_.choices)


@properties
@given(spaces(), seeds)
def test_only_active_parameters_are_suggested(space: SearchSpace, seed: int) -> None:
    for point in (drawn(space, seed), space.defaults()):
        assert active_only(space, point) == point
        inactive = space.inactive_defaults(point)
        assert not inactive.keys() & point.keys()
        expected = {name for name, p in space.items() if p.has_default} | point.keys()
        assert space.complete(point).keys() == expected


@properties
@given(spaces())
def test_the_defaults_are_a_point_of_the_space(space: SearchSpace) -> None:
    assert space.problems(space.defaults()) == []


@properties
@given(spaces())
def test_conditions_speak_of_earlier_parameters_only(space: SearchSpace) -> None:
    for position, parameter in enumerate(space.values()):
        assert parameter.when.keys() <= set(space.names[:position])


@properties
@given(spaces(), st.data(), seeds)
def test_a_narrowed_space_is_contained_in_its_parent(space: SearchSpace, data: st.DataObject, seed: int) -> None:
    changes = data.draw(narrowings(space))

    resolved = space.override(changes)

    assert resolved.space.narrower_than(space)
    for point in (drawn(resolved.space, seed), resolved.space.defaults()):
        assert not point.keys() & resolved.pins.keys()
        # A pin holds also where its parameter does not exist, but then it is no part of the point.
        assert space.problems(active_only(space, {**resolved.pins, **point})) == []
        assert active_only(space, {**resolved.pins, **point}).keys() >= point.keys()


@properties
@given(spaces(), st.data())
def test_a_narrowed_space_keeps_its_defaults_inside(space: SearchSpace, data: st.DataObject) -> None:
    narrowed = space.override(data.draw(narrowings(space))).space

    for name, parameter in narrowed.items():
        assert parameter.has_default is space[name].has_default
        assert not parameter.has_default or parameter.range.problem(parameter.default) is None


@properties
@given(spaces(), st.data())
def test_asking_twice_for_the_same_narrowing_changes_nothing(space: SearchSpace, data: st.DataObject) -> None:
    once = space.override(data.draw(narrowings(space))).space
    same_again = {
        name: list(p.range.choices) if isinstance(p.range, Choice) else {"low": p.range.low, "high": p.range.high}
        for name, p in once.items()
    }

    assert once.override(same_again).space == once
    assert space.override({}).space == space


@properties
@given(spaces())
def test_json_gives_the_space_back_exactly(space: SearchSpace) -> None:
    again = SearchSpace.from_json(json.loads(json.dumps(space.to_json())))

    assert again == space
    assert again.names == space.names
    assert again.to_json() == space.to_json()
    assert repr(again) == repr(space)
    assert again.differences(space) == []


@properties
@given(spaces(), spaces())
def test_spaces_are_equal_exactly_when_they_have_no_differences(a: SearchSpace, b: SearchSpace) -> None:
    assert (a == b) is (a.differences(b) == [])
    assert (a == b) is (b.differences(a) == [])


@properties
@given(ranges(), st.data())
def test_a_constructor_is_read_as_it_is_written(range_: Range, data: st.DataObject) -> None:
    def build(x): ...  # type: ignore[no-untyped-def]

    default = data.draw(inside(range_))
    build.__annotations__ = {"x": Annotated[Any, range_]}
    build.__defaults__ = (default,)

    assert SearchSpace.of(build)["x"] == Parameter("x", range_, default=default, has_default=True)
    assert arguments_of(build)[0].default == default


@properties
@given(ranges(), ranges())
def test_a_contained_range_has_no_further_values(a: Range, b: Range) -> None:
    if a.within(b):
        assert b.problem(a.middle()) is None
    assert a.within(a)
