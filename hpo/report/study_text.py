"""The study file of a stored study, written as a person would write it; `hpo run` takes it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML

from hpo.study.job import OWN_LOADERS
from hpo.study.spec import StudySpec


def study_text(spec: StudySpec) -> str:
    """YAML with all that differs from the defaults."""
    plain = spec.model_dump(mode="json", exclude_defaults=True)
    plain["study"] = spec.study
    for key in ("model", "data"):
        if isinstance(plain.get(key), list):  # several models
            plain[key] = [_class(**one) for one in plain[key]]
        elif key in plain:
            plain[key] = _class(**plain[key])
    if spec.data.label == OWN_LOADERS:
        plain.pop("data", None)
    for key in ("sampler", "pruner"):
        if key in plain:
            plain[key] = _algorithm(getattr(spec, key).model_dump(mode="json"))
    plain["objective"] = {"metric": spec.objective.metric, "direction": spec.objective.direction.value} | {
        key: value for key, value in plain["objective"].items() if key not in ("metric", "direction", "further")
    }
    if spec.objective.further:
        plain["objective"] = [plain["objective"], *(one.model_dump(mode="json") for one in spec.objective.further)]
    if spec.steps is not None:
        plain.pop("epochs", None)
    first = ("study", "model", "data", "objective", "space", "epochs", "steps", "sampler", "pruner", "budget")
    ordered = {key: plain[key] for key in first if key in plain}
    return _yaml(ordered | {key: value for key, value in plain.items() if key not in ordered})


def _class(label: str, arguments: Mapping[str, Any] | None = None) -> Any:
    if {"class", "label"} & (arguments or {}).keys():  # such arguments cannot stand beside the class
        return {"label": label, "arguments": arguments}
    return {"class": label, **arguments} if arguments else label


def _algorithm(plain: Mapping[str, Any]) -> Any:
    name = {"class": plain["label"]} if plain["label"] is not None else {"name": plain["name"]}
    return {**name, **plain["options"]} if plain["options"] else next(iter(name.values()))


def _yaml(plain: Mapping[str, Any]) -> str:
    writer = YAML(typ="safe", pure=True)
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.default_flow_style = None  # innermost lists and mappings in one line
    writer.width = 100
    writer.allow_unicode = True
    text = io.StringIO()
    writer.dump(dict(plain), text)
    return text.getvalue()
