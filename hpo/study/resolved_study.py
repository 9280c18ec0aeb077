"""A resolved study: the study file applied to the search spaces of the classes that it names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from hpo.errors import SpecError
from hpo.space import Argument, Choice, Int, Parameter, SearchSpace, SpaceProblems
from hpo.space.values import Value
from hpo.study.alternatives import MODEL, Alternative, merged, names_of
from hpo.study.fingerprints import data_paths
from hpo.study.job import OWN_LOADERS
from hpo.study.known_arguments import Changes, Described, flattened, known
from hpo.study.length import Unit
from hpo.study.spec import AlgorithmSpec, LengthRange, StudySpec
from hpo.study.study_file import KeyPath, Source

OWNERS = ("model", "data")

# These keys may differ between two runs of the same study.
_FREE_KEYS = (
    *("study", "space", "budget", "keep", "model", "data", "retries", "priority", "points"),
    *("executor", "cuda_graphs", "logger", "track", "reuse_processes", "notify"),
)
# What a study file leaves out is as it was when the study was created.
DEFAULTS = 2  # counts the sets of defaults: 1 had those below, and rungs up to the end of a trial
EARLIER_DEFAULTS: Mapping[str, Any] = {
    "epochs": 10,
    "early_stopping": None,
    "sampler": AlgorithmSpec(name="tpe").model_dump(mode="json"),
}
_FREE_RESOURCES = ("slots", "trials_per_device")
BATCH_SIZE = "batch_size"  # the argument of data or models that `retries: {accumulate: true}` makes smaller


@dataclass(frozen=True)
class ResolvedStudy:
    """A study's search space and settings: the same on every worker, stored when the study is created.

    Attributes:
        spec: the study file.
        space: the resolved search space: the model's, the data's and the number of epochs or steps.
        fixed: by owner (model, data), the constructor arguments that are the same in every trial; of several models,
            each alternative has its own.
        alternatives: the models that it chooses among; empty where there is one.
        inputs: fingerprints of the data files and the modules that its trials use, by what each is called; empty where
            they are not known.
        remarks: what the study file searches beyond the ranges of its classes, in words; not stored.
    """

    spec: StudySpec
    space: SearchSpace
    fixed: Mapping[str, Mapping[str, Any]]
    inputs: Mapping[str, str] = field(default_factory=dict)
    alternatives: tuple[Alternative, ...] = ()
    remarks: tuple[str, ...] = ()

    def arguments(self, owner: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The constructor arguments of a trial: the fixed ones and the owner's searched ones."""
        if owner == "model" and self.alternatives:
            return self._alternative(params).given(params)
        searched = {p.name: params[p.name] for p in self.space.values() if p.owner == owner and p.name in params}
        return dict(self.fixed[owner]) | searched

    def sections(self, params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The model and the data of a trial's configuration: by owner, the class and its constructor's arguments."""
        model = self._alternative(params).label if self.alternatives else self.spec.models[0].label
        labels = {"model": model, "data": self.spec.data.label}
        return {owner: {"class": labels[owner], **self.arguments(owner, params)} for owner in OWNERS}

    def first_points(self) -> list[dict[str, Value]]:
        """The defaults; of several models, those of each."""
        names = [one.name for one in self.alternatives]
        return [self.space.defaults(**{MODEL: name}) for name in names] if names else [self.space.defaults()]

    @property
    def constants(self) -> dict[str, Any]:
        """The constructor arguments that are the same in every trial, by name; a searched one may be fixed while it is
        inactive."""
        return {name: value for of in self.fixed.values() for name, value in of.items() if name not in self.space}

    def _alternative(self, params: Mapping[str, Any]) -> Alternative:
        return next(one for one in self.alternatives if one.name == params[MODEL])

    def epochs(self, params: Mapping[str, Any]) -> int:
        """The length of a trial, in the study's unit."""
        length = self.spec.length
        return int(params[self.spec.unit.plural]) if isinstance(length, LengthRange) else length

    def to_json(self) -> str:
        plain: dict[str, Any] = {
            "spec": self.spec.model_dump(mode="json"),
            "fixed": {o: dict(self.fixed[o]) for o in OWNERS},
        }
        if self.alternatives:
            plain["alternatives"] = [asdict(one) for one in self.alternatives]
        return json.dumps(plain | {"inputs": dict(self.inputs), "defaults": DEFAULTS})

    @staticmethod
    def from_json(text: str, space: str) -> ResolvedStudy:
        plain = json.loads(text)
        return ResolvedStudy(
            _stored_spec(plain),
            SearchSpace.from_json(json.loads(space)),
            plain["fixed"],
            plain.get("inputs", {}),  # an earlier release wrote none
            tuple(Alternative(**one) for one in plain.get("alternatives", ())),
        )

    def renewed(self, text: str) -> ResolvedStudy:
        """The same search with the other settings from the store, which may have changed: budget, retries, ..."""
        plain = json.loads(text)
        return replace(self, spec=_stored_spec(plain), inputs=plain.get("inputs", {}))

    def differences(self, stored: ResolvedStudy) -> list[str]:
        """Each difference of this search from the stored one, in words; empty when it is the same study."""
        found = []
        mine, theirs = (_compared(study) for study in (self, stored))
        for key in mine:
            is_left_out = key not in self.spec.model_fields_set
            if mine[key] != theirs.get(key) and not (is_left_out and theirs.get(key) == EARLIER_DEFAULTS.get(key, ...)):
                found.append(f"{key}: {_short(mine[key])} here, {_short(theirs.get(key))} in the store")
        return found + self.space.differences(stored.space)

    def paths(self, classes: Mapping[str, Mapping[str, Any]], project: Path) -> dict[str, Path]:
        """The files and folders that its arguments name, by what they are called; see `data_paths`.

        Args:
            classes: by owner, as for `resolve`; for the defaults of their constructors.
        """
        values: dict[str, list[Any]] = {owner: [] for owner in OWNERS}
        own = [one.fixed for one in self.alternatives] or [self.fixed["model"]]
        for key, given in zip(self.spec.classes, [*own, self.fixed["data"]], strict=True):
            defaults = {plain["name"]: plain["default"] for plain in classes[key]["arguments"]}
            values["data" if key == "data" else "model"] += [*(defaults | dict(given)).values()]
        for parameter in self.space.values():
            if isinstance(parameter.range, Choice) and parameter.owner in values:
                values[parameter.owner] += parameter.range.choices
        return data_paths(values, project)


def resolve(spec: StudySpec, classes: Mapping[str, Mapping[str, Any]], source: Source) -> ResolvedStudy:
    """Apply the study file's `space` and arguments to the search spaces of its classes.

    Args:
        classes: by their names in `StudySpec.classes`, the answer of `hpo.training.describe`.

    Raises:
        SpecError: unknown names or invalid ranges; all of them, each with its file and line.
    """
    if len(spec.models) > 1:
        return _of_several(spec, classes, source)
    [model] = spec.models
    described = [
        Described.of("model", model.label, classes["model"], model.arguments),
        Described.of("data", spec.data.label, classes["data"], spec.data.arguments),
    ]
    label = " or ".join(one.label for one in described if one.label != OWN_LOADERS)
    try:
        union = SearchSpace.union(*(SearchSpace.from_json(classes[owner]["space"]) for owner in OWNERS))
    except SpecError as error:
        raise source.error([(("data",), f"{error} ({label.replace(' or ', ' and ')})")]) from error
    changes, problems = flattened(spec.space, described)
    problems += [problem for one in described for problem in one.problems()]
    given: dict[str, dict[str, Any]] = {one.owner: dict(one.given) for one in described}
    # `model: {class: ..., depth: 3}` pins a searched parameter, as `space: {depth: 3}` does.
    pins = {name: value for values in given.values() for name, value in values.items() if name in union.names}
    for name in pins.keys() & changes.by_name.keys():
        problems.append((changes.paths[name], "is also given as a constructor argument; keep one of them"))
    arguments, unknown = known([*changes.by_name, *pins], described)
    problems += [(changes.paths[name], text) for name, text in unknown]
    wanted = {name: value for name, value in changes.by_name.items() if name not in dict(unknown)}
    fixed = {name: value for values in given.values() for name, value in values.items()}
    try:
        narrowed = union.override(wanted, arguments, given=pins, fixed=fixed, label=label)
    except SpaceProblems as error:
        problems += [(_path(name, changes, given), text) for name, text in error.problems]
        raise source.error(problems) from error
    owner_of = {argument.name: argument.owner for argument in arguments}
    for name, value in narrowed.pins.items():
        given[owner_of[name]][name] = value
    for parameter, has_own in _conditional(narrowed.space, wanted, arguments):
        if parameter.has_default and not has_own:
            given[parameter.owner][parameter.name] = parameter.default
        elif not has_own:
            text = f"'{parameter.name}' has a condition, so it needs a default for when it is inactive"
            problems.append((changes.paths[parameter.name], text))
    if problems:
        raise source.error(problems)
    space = narrowed.space
    if isinstance(spec.length, LengthRange):
        space = SearchSpace.union(space, SearchSpace((_length(spec.unit, spec.length),)))
    if not len(space):
        raise source.error([(("space",), "everything is pinned: there is nothing to search")])
    if spec.retries.accumulate and BATCH_SIZE not in {*space.names, *given["data"], *given["model"]}:
        text = f"needs an argument {BATCH_SIZE} of the data or the model, given or searched, to make it smaller"
        raise source.error([(("retries", "accumulate"), text)])
    remarks = tuple(f"{text}, the range of {label}" for text in narrowed.beyond)
    return ResolvedStudy(spec, space, given, remarks=remarks)


def _of_several(spec: StudySpec, classes: Mapping[str, Mapping[str, Any]], source: Source) -> ResolvedStudy:
    """Of several models: each is resolved with what the file's `space` says of its arguments and those of the data."""
    keys = [key for key in classes if key != "data"]
    data = Described.of("data", spec.data.label, classes["data"], spec.data.arguments)
    models = [
        Described.of("model", one.label, classes[key], one.arguments)
        for key, one in zip(keys, spec.models, strict=True)
    ]
    labels = [one.label for one in spec.models]
    names = names_of(labels)
    of_one = {name: change for name, change in spec.space.items() if name.partition(".")[0] in names}  # `DNN.width`
    of_all = {name: change for name, change in spec.space.items() if name not in of_one}
    is_known = {name: [its.argument(name) is not None for its in (*models, data)] for name in of_all}
    found = []
    for place, (key, model) in enumerate(zip(keys, spec.models, strict=True)):
        own = {
            name: change
            for name, change in of_all.items()
            if is_known[name][place] or is_known[name][-1] or not any(is_known[name])  # what none has is refused
        }
        prefix = f"{names[place]}."
        own |= {name.removeprefix(prefix): change for name, change in of_one.items() if name.startswith(prefix)}
        alone = spec.model_copy(update={"model": model, "space": own})
        found.append(resolve(alone, {"model": classes[key], "data": classes["data"]}, source))
    space, alternatives = merged(names, labels, [one.space for one in found], [one.fixed["model"] for one in found])
    fixed = {"model": {}, "data": found[0].fixed["data"]}
    remarks = tuple(dict.fromkeys(remark for one in found for remark in one.remarks))
    return ResolvedStudy(spec, space, fixed, alternatives=alternatives, remarks=remarks)


def _stored_spec(plain: Mapping[str, Any]) -> StudySpec:
    spec = StudySpec.model_validate(plain["spec"])
    promotes = spec.pruner.name == "asha" and spec.pruner.options.get("mode", "promote") == "promote"
    if promotes and plain.get("defaults", 1) < DEFAULTS:
        pruner = spec.pruner.model_copy(update={"options": {"until": 1.0, **spec.pruner.options}})
        spec = spec.model_copy(update={"pruner": pruner})
    return spec


def _path(name: str, changes: Changes, given: Mapping[str, Mapping[str, Any]]) -> KeyPath:
    return changes.paths.get(name) or next((owner, name) for owner in OWNERS if name in given[owner])


def _conditional(
    space: SearchSpace, changes: Mapping[str, Any], arguments: Sequence[Argument]
) -> Iterator[tuple[Parameter, bool]]:
    """Parameters to which the study file gives a condition; and whether the constructor's default holds otherwise."""
    has_default = {argument.name: argument.has_default for argument in arguments}
    for name, change in changes.items():
        if name in space and isinstance(change, Mapping) and "when" in change:
            yield space[name], has_default[name] and "default" not in change


def _length(unit: Unit, range_: LengthRange) -> Parameter:
    return Parameter(unit.plural, Int(range_.low, range_.high, log=range_.log), owner="trainer")


def _compared(study: ResolvedStudy) -> dict[str, Any]:
    """The settings that two runs of the same search share, apart from the space, which is compared separately."""
    plain = study.spec.model_dump(mode="json")
    kept = {key: value for key, value in plain.items() if key not in _FREE_KEYS}
    # What was created before there was this option has rungs up to the end.
    options = {name: value for name, value in plain["pruner"]["options"].items() if (name, value) != ("until", 1.0)}
    kept["pruner"] = {**plain["pruner"], "options": options}
    kept["resources"] = {key: value for key, value in plain["resources"].items() if key not in _FREE_RESOURCES}
    kept |= {"model": study.spec.model_in_words, "data": study.spec.data.label}
    for owner in OWNERS:
        kept[f"{owner} arguments"] = dict(study.fixed[owner])
    kept |= {f"arguments of {one.label}": dict(one.fixed) for one in study.alternatives}
    return kept


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_short(item)}" for key, item in value.items() if item is not None) + "}"
    return str(value)
