"""Several models in one study: which of them a trial trains is a parameter, `model`, and the others' are inactive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpo.space import Choice, Parameter, SearchSpace

MODEL = "model"  # the parameter


@dataclass(frozen=True)
class Alternative:
    """One of the models that a study chooses among.

    Attributes:
        name: of its class, with its module where another one has the same name; the value of the parameter.
        label: its import path.
        fixed: the constructor arguments that are the same in every trial of it.
        arguments: by the name of a searched parameter, that of the constructor's argument.
    """

    name: str
    label: str
    fixed: Mapping[str, Any]
    arguments: Mapping[str, str]

    def given(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The constructor arguments of a trial of this model."""
        searched = {argument: params[name] for name, argument in self.arguments.items() if name in params}
        return {**self.fixed, **searched}


def names_of(labels: Sequence[str]) -> list[str]:
    """The classes' names, or their import paths where two have the same."""
    short = [label.rpartition(":")[2] for label in labels]
    return short if len(set(short)) == len(short) else list(labels)


def merged(
    names: Sequence[str], labels: Sequence[str], spaces: Sequence[SearchSpace], fixed: Sequence[Mapping[str, Any]]
) -> tuple[SearchSpace, tuple[Alternative, ...]]:
    """One space of several models, each with that of its data and its length, which are the same for all.

    A parameter that several models search in the same range is one parameter. Where ranges differ, it is one for each
    model, as `DNN.width`.

    Args:
        spaces, fixed: of each model, with its constructor arguments that are the same in every trial.
    """
    own = [[parameter for parameter in space.values() if parameter.owner == "model"] for space in spaces]
    renamed: list[dict[str, str]] = [{} for _ in spaces]
    found: dict[str, Parameter] = {}
    for place, parameters in enumerate(own):
        for parameter in parameters:
            among = [place for place, others in enumerate(own) if any(other.name == parameter.name for other in others)]
            is_shared = all(_is_alike(parameter, own[other], renamed[place]) for other in among)
            name = parameter.name if is_shared else f"{names[place]}.{parameter.name}"
            renamed[place][parameter.name] = name
            if name in found:
                continue
            active = [names[other] for other in (among if is_shared else [place])]
            when = {renamed[place].get(parent, parent): values for parent, values in parameter.when.items()}
            if len(active) < len(names):
                when[MODEL] = tuple(active)
            found[name] = replace(parameter, name=name, when=when)
    choice = Parameter(MODEL, Choice(*names), default=names[0], has_default=True, owner="trainer")
    others = [parameter for parameter in spaces[0].values() if parameter.owner != "model"]
    alternatives = tuple(
        Alternative(name, label, its, {new: old for old, new in names_by_own.items()})
        for name, label, its, names_by_own in zip(names, labels, fixed, renamed, strict=True)
    )
    return SearchSpace((choice, *found.values(), *others)), alternatives


def _is_alike(parameter: Parameter, others: Sequence[Parameter], renamed: Mapping[str, str]) -> bool:
    """Whether another model searches it in the same range, under the same conditions on shared parameters."""
    other = next(other for other in others if other.name == parameter.name)
    return (
        other.range == parameter.range
        and other.when == parameter.when
        and all(renamed.get(parent, parent) == parent for parent in parameter.when)
    )
