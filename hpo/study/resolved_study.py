"""A resolved study: the study file applied to the search spaces of the classes that it names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hpo.errors import SpecError
from hpo.space import Argument, Int, Parameter, SearchSpace, SpaceProblems
from hpo.study.spec import EpochRange, StudySpec
from hpo.study.study_file import KeyPath, Source

OWNERS = ("model", "data")

# These keys may differ between two runs of the same study.
_FREE_KEYS = (
    *("study", "space", "budget", "keep", "model", "data", "retries", "priority"),
    *("executor", "logger", "reuse_processes"),
)
_FREE_RESOURCES = ("slots", "trials_per_device")


@dataclass(frozen=True)
class ResolvedStudy:
    """A study's search space and settings: the same on every worker, stored when the study is created.

    Attributes:
        spec: the study file.
        space: the resolved search space: the model's, the data's and the number of epochs.
        fixed: by owner (model, data), the constructor arguments that are the same in every trial.
    """

    spec: StudySpec
    space: SearchSpace
    fixed: Mapping[str, Mapping[str, Any]]

    def arguments(self, owner: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The constructor arguments of a trial: the fixed ones and the owner's searched ones."""
        searched = {p.name: params[p.name] for p in self.space.values() if p.owner == owner and p.name in params}
        return dict(self.fixed[owner]) | searched

    def epochs(self, params: Mapping[str, Any]) -> int:
        return int(params["epochs"]) if "epochs" in self.space else self.spec.max_epochs

    def to_json(self) -> str:
        plain = {"spec": self.spec.model_dump(mode="json"), "fixed": {o: dict(self.fixed[o]) for o in OWNERS}}
        return json.dumps(plain)

    @staticmethod
    def from_json(text: str, space: str) -> ResolvedStudy:
        plain = json.loads(text)
        return ResolvedStudy(
            StudySpec.model_validate(plain["spec"]), SearchSpace.from_json(json.loads(space)), plain["fixed"]
        )

    def renewed(self, text: str) -> ResolvedStudy:
        """The same search with the other settings from the store, which may have changed: budget, retries, ..."""
        return replace(self, spec=StudySpec.model_validate(json.loads(text)["spec"]))

    def differences(self, stored: ResolvedStudy) -> list[str]:
        """Each difference of this search from the stored one, in words; empty when it is the same study."""
        found = []
        mine, theirs = (_compared(study) for study in (self, stored))
        for key in mine:
            if mine[key] != theirs[key]:
                found.append(f"{key}: {_short(mine[key])} here, {_short(theirs[key])} in the store")
        return found + self.space.differences(stored.space)


def resolve(spec: StudySpec, classes: Mapping[str, Mapping[str, Any]], source: Source) -> ResolvedStudy:
    """Apply the study file's `space` and arguments to the search spaces of its classes.

    Args:
        classes: by owner, the answer of `hpo.training.describe`.

    Raises:
        SpecError: unknown names or invalid ranges; all of them, each with its file and line.
    """
    labels = {"model": spec.model.label, "data": spec.data.label}
    spaces = [SearchSpace.from_json(classes[owner]["space"]) for owner in OWNERS]
    arguments = [_argument(plain) for owner in OWNERS for plain in classes[owner]["arguments"]]
    try:
        union = SearchSpace.union(*spaces)
    except SpecError as error:
        raise source.error([(("data",), f"{error} ({labels['model']} and {labels['data']})")]) from error
    problems = [problem for owner in OWNERS for problem in _unknown_arguments(spec, owner, arguments, union)]
    given = {owner: dict(getattr(spec, owner).arguments) for owner in OWNERS}
    # `model: {class: ..., depth: 3}` pins a searched parameter, as `space: {depth: 3}` does.
    pins = {name: value for owner in OWNERS for name, value in given[owner].items() if name in union.names}
    for name in pins.keys() & spec.space.keys():
        problems.append((("space", name), "is also given as a constructor argument; keep one of them"))
    try:
        narrowed = union.override(pins | spec.space, arguments=arguments, label=" or ".join(labels.values()))
    except SpaceProblems as error:
        problems += [(_path(spec, name), text) for name, text in error.problems]
        raise source.error(problems) from error
    if problems:
        raise source.error(problems)
    owner_of = {argument.name: argument.owner for argument in arguments}
    for name, value in narrowed.pins.items():
        given[owner_of[name]][name] = value
    space = narrowed.space
    if isinstance(spec.epochs, EpochRange):
        space = SearchSpace.union(space, SearchSpace((_epochs(spec.epochs),)))
    if not len(space):
        raise source.error([(("space",), "everything is pinned: there is nothing to search")])
    return ResolvedStudy(spec, space, given)


def _path(spec: StudySpec, name: str) -> KeyPath:
    if name in spec.space:
        return ("space", name)
    return next((owner, name) for owner in OWNERS if name in getattr(spec, owner).arguments)


def _unknown_arguments(
    spec: StudySpec, owner: str, arguments: list[Argument], union: SearchSpace
) -> list[tuple[KeyPath, str]]:
    section = getattr(spec, owner)
    known = [argument.name for argument in arguments if argument.owner == owner]
    return [
        ((owner, name), f"{section.label} takes no argument '{name}'; it takes {', '.join(known) or 'none'}")
        for name in section.arguments
        if name not in known
    ]


def _argument(plain: Mapping[str, Any]) -> Argument:
    return Argument(**{**plain, "choices": tuple(plain["choices"])})


def _epochs(epochs: EpochRange) -> Parameter:
    return Parameter("epochs", Int(epochs.low, epochs.high, log=epochs.log), owner="trainer")


def _compared(study: ResolvedStudy) -> dict[str, Any]:
    """The settings that two runs of the same search share, apart from the space, which is compared separately."""
    plain = study.spec.model_dump(mode="json")
    kept = {key: value for key, value in plain.items() if key not in _FREE_KEYS}
    kept["resources"] = {key: value for key, value in plain["resources"].items() if key not in _FREE_RESOURCES}
    for owner in OWNERS:
        kept[owner] = plain[owner]["label"]
        kept[f"{owner} arguments"] = dict(study.fixed[owner])
    return kept


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_short(item)}" for key, item in value.items() if item is not None) + "}"
    return str(value)
