"""The objects that a study file describes, `{class: package.module:Class, ...}`, and where in the file they stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hpo.loading import is_object
from hpo.study.job import NestedObject
from hpo.study.spec import StudySpec
from hpo.study.study_file import KeyPath


def objects_of(spec: StudySpec) -> list[NestedObject]:
    """All objects below the study's model, data, space and trainer."""
    models = [one.arguments for one in spec.models]
    sections: dict[KeyPath, Any] = {
        **({("model", place): one for place, one in enumerate(models)} if models[1:] else {("model",): models[0]}),
        ("data",): spec.data.arguments,
        ("space",): spec.space,
        ("trainer",): {"callbacks": list(spec.trainer.callbacks)},
    }
    return [found for path, section in sections.items() for found in _below(section, path, spec, len(path))]


def _below(value: Any, path: KeyPath, spec: StudySpec, start: int) -> Iterator[NestedObject]:
    """
    Args:
        start: of the path within its section.
    """
    if is_object(value):
        names = [key for key in value if key != "class"]
        if path[0] in ("model", "data"):  # entries that are searched: `net.width`
            above = ".".join(map(str, path[start:])) + "."
            names += [name.removeprefix(above).partition(".")[0] for name in spec.space if name.startswith(above)]
        yield NestedObject(list(path), value["class"], names)
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _below(item, (*path, key), spec, start)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _below(item, (*path, position), spec, start)
