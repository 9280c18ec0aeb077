"""The search space of a study: its searched parameters, in the order in which a trial draws them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from hpo.errors import SpecError, nearest
from hpo.space.narrowing import narrowed
from hpo.space.numeric import Float, Trial
from hpo.space.parameter import Owner, Parameter
from hpo.space.ranges import Choice
from hpo.space.reading import Argument, label_of, parameters_of
from hpo.space.values import Scalar, Value, among, in_words, label_of_value


@dataclass(frozen=True, eq=False)
class SearchSpace(Mapping[str, Parameter]):
    """Parameters by name. A parameter's condition refers to earlier ones only, so one pass draws a point.

    Two spaces are equal when they hold the same parameters, in any order.

    Raises:
        SpecError: a name occurs twice, or a condition can never hold or precedes its parent.
    """

    parameters: tuple[Parameter, ...] = ()

    def __post_init__(self) -> None:
        earlier: dict[str, Parameter] = {}
        for parameter in self.parameters:
            if parameter.name in earlier:
                raise SpecError(f"'{parameter.name}' is searched twice")
            for parent, values in parameter.when.items():
                self._check_condition(parameter.name, parent, values, earlier)
            earlier[parameter.name] = parameter

    @classmethod
    def of(cls, target: Callable[..., Any], owner: Owner = "model") -> Self:
        """The search space in the signature of a class or another callable, which is not called.

        Raises:
            SpecError: a range, a default or a condition is invalid; the message names the class and the parameter.
        """
        try:
            return cls(parameters_of(target, owner))
        except SpecError as error:
            raise SpecError(f"{label_of(target)}: {error}") from error

    @classmethod
    def union(cls, *spaces: SearchSpace) -> Self:
        """All parameters of several owners.

        Raises:
            SpecError: two owners search the same name.
        """
        owners: dict[str, Owner] = {}
        for parameter in (parameter for space in spaces for parameter in space.parameters):
            if parameter.name in owners:
                both = f"the {owners[parameter.name]} and the {parameter.owner}"
                raise SpecError(f"'{parameter.name}' is searched by both {both}: rename one of them")
            owners[parameter.name] = parameter.owner
        return cls(tuple(parameter for space in spaces for parameter in space.parameters))

    def override(
        self,
        changes: Mapping[str, Any],
        arguments: Sequence[Argument] = (),
        *,
        given: Mapping[str, Any] | None = None,
        fixed: Mapping[str, Any] | None = None,
        label: str = "the study",
    ) -> Resolved:
        """The space after a study's `space:` entries, and the pinned values; see hpo.space.narrowing.

        Args:
            arguments: of the constructors, also those without a range, which may be pinned or get one.
            given: searched arguments that the study fixes to values of any type.
            fixed: the other arguments that it fixes, on which conditions may depend.
            label: names the classes in messages.

        Raises:
            SpaceProblems: with all problems of the changes.
        """
        found = narrowed(self.parameters, changes, arguments, label, given or {}, fixed or {})
        return Resolved(SearchSpace(found.parameters), found.pins, found.beyond)

    def suggest(self, trial: Trial) -> dict[str, Value]:
        """A point drawn by the trial, without the inactive parameters."""
        point: dict[str, Value] = {}
        for parameter in self.parameters:
            if parameter.is_active(point):
                point[parameter.name] = parameter.range.suggest(trial, parameter.name)
        return point

    def defaults(self, **chosen: Value) -> dict[str, Value]:
        """The first point to try: the defaults, and the middle of the range where there is none.

        Args:
            chosen: other values than the defaults.
        """
        point: dict[str, Value] = {}
        for parameter in self.parameters:
            if parameter.is_active(point):
                point[parameter.name] = chosen.get(parameter.name, parameter.first())
        return point

    def inactive_defaults(self, params: Mapping[str, Any]) -> dict[str, Value]:
        """The defaults of the parameters that are inactive at this point, where they have one."""
        return {
            parameter.name: parameter.default
            for parameter in self.parameters
            if parameter.has_default and not parameter.is_active(params)
        }

    def complete(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """The point with the defaults of its inactive parameters: all searched arguments of the constructors."""
        return {**self.inactive_defaults(params), **params}

    def stored(self, params: Mapping[str, Value]) -> dict[str, Scalar]:
        """The point as Optuna stores it: lists and mappings by their labels."""
        return {name: label_of_value(value) for name, value in params.items()}

    def contains(self, params: Mapping[str, Any]) -> bool:
        return not self.problems(params)

    def problems(self, params: Mapping[str, Any], *, partial: bool = False) -> list[str]:
        """The problems of a point, as messages; a partial one may leave active parameters to the sampler."""
        found = [f"'{name}' is not searched{nearest(name, self)}" for name in params if name not in self]
        taken: dict[str, Value] = {}
        active: dict[str, bool | None] = {}
        for parameter in self.parameters:
            name = parameter.name
            active[name] = _known_to_be_active(parameter, taken, active)
            if name not in params:
                if active[name] and not partial:
                    found.append(f"'{name}' is missing ({parameter.range})")
                continue
            problem = parameter.range.problem(params[name])
            if problem is not None:
                found.append(f"'{name}': {in_words(params[name])} {problem}")
                continue
            taken[name] = parameter.range.take(params[name])
            if active[name] is False:
                found.append(f"'{name}' is given, but is active only when {parameter.condition()}")
        return found

    def narrower_than(self, wider: SearchSpace) -> bool:
        """Whether each point of this space, together with the pinned values, is a point of the wider one."""
        return all(
            name in wider
            and parameter.range.within(wider[name].range)
            and all(
                among(value, wider[name].when[parent])
                for parent in parameter.when.keys() & wider[name].when.keys()
                for value in parameter.when[parent]
            )
            and not (wider[name].when.keys() & self.keys()) - parameter.when.keys()
            for name, parameter in self.items()
        )

    def differences(self, other: SearchSpace, *, mine: str = "this space", theirs: str = "the other") -> list[str]:
        """The differences of the two spaces, as messages; empty when they are equal."""
        found = []
        for name in [*self, *(name for name in other if name not in self)]:
            if name not in other or name not in self:
                found.append(f"'{name}' is searched in {mine if name in self else theirs} only")
            elif self[name] != other[name]:
                found.append(f"'{name}' is {self[name]} in {mine}, but {other[name]} in {theirs}")
        return found

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self)

    def to_json(self) -> list[dict[str, Any]]:
        return [parameter.to_json() for parameter in self.parameters]

    @classmethod
    def from_json(cls, plain: Sequence[Mapping[str, Any]]) -> Self:
        return cls(tuple(Parameter.from_json(item) for item in plain))

    def __getitem__(self, name: str) -> Parameter:
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (parameter.name for parameter in self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def _check_condition(
        self, name: str, parent: str, values: tuple[Value, ...], earlier: Mapping[str, Parameter]
    ) -> None:
        if parent not in earlier:
            if any(parameter.name == parent for parameter in self.parameters):
                raise SpecError(f"'{name}' depends on '{parent}', which is declared after it")
            hint = nearest(parent, earlier)
            raise SpecError(f"'{name}' depends on '{parent}', which is not searched{hint}")
        range_ = earlier[parent].range
        if isinstance(range_, Float):
            raise SpecError(f"'{name}' depends on '{parent}', but a condition needs a choice or an integer")
        for value in values:
            if not Choice(value).within(range_):
                raise SpecError(f"'{name}' is active when '{parent}' is {in_words(value)}, but '{parent}' is {range_}")


@dataclass(frozen=True)
class Resolved:
    """A search space after a study's changes.

    Attributes:
        space: that is left to search.
        pins: the pinned values.
        beyond: what lies beyond the ranges of the classes, in words.
    """

    space: SearchSpace
    pins: Mapping[str, Value]
    beyond: tuple[str, ...] = ()


def _known_to_be_active(
    parameter: Parameter, taken: Mapping[str, Value], active: Mapping[str, bool | None]
) -> bool | None:
    """Whether the parameter is active; None while a parent is absent or invalid, so that a mistake is reported once."""
    unknown = False
    for parent, values in parameter.when.items():
        if active[parent] is False or (parent in taken and not among(taken[parent], values)):
            return False
        unknown = unknown or active[parent] is None or parent not in taken
    return None if unknown else True
