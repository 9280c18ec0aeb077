"""The README's table of knobs matches the constructors."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import LightningModule

import models.data
from hpo.space import SearchSpace, arguments_of, label_of
from models.base import Supervised
from models.optimized import Optimized

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
HEADER = "| class | searched | also searched, where a study file gives a range or choices |"
BASES = (Optimized, Supervised)
DATA_MODULES = [getattr(models.data, name) for name in models.data.MODULES]


def families() -> list[type[Any]]:
    """The public models that are no base of others, in the order of their modules."""
    found = []
    for module in pkgutil.iter_modules(models.__path__):
        members = vars(importlib.import_module(f"models.{module.name}")).items()
        found += [c for name, c in members if isinstance(c, type) and issubclass(c, LightningModule) and name[0] != "_"]
    own = [c for c in dict.fromkeys(found) if c.__module__.startswith("models.")]
    return [c for c in own if not any(c in other.__mro__[1:] for other in own)]


FAMILIES = families()
CLASSES = [*BASES, *FAMILIES, *DATA_MODULES]


def shown_label(cls: type[Any]) -> str:
    """As a study file would name it."""
    return f"models.data:{cls.__name__}" if cls in DATA_MODULES else label_of(cls)


def knobs(cls: type[Any]) -> tuple[list[str], list[str]]:
    """What is searched, and what else could be: has a default, and does not come from the data."""
    owner: Any = "data" if cls in DATA_MODULES else "model"
    searched = [parameter.name for parameter in SearchSpace.of(cls, owner=owner).values()]
    others = [
        a for a in arguments_of(cls, owner=owner) if a.has_default and not a.is_from_data and a.name not in searched
    ]
    return searched, [argument.name for argument in others]


def row(cls: type[Any]) -> str:
    """The row of a class: what it has beside what its bases have."""
    searched, others = knobs(cls)
    bases = [base for base in BASES if cls is not base and issubclass(cls, base)]
    inherited = {name for base in bases for names in knobs(base) for name in names}
    cells = [", ".join(name for name in names if name not in inherited) for names in (searched, others)]
    return f"| `{shown_label(cls)}` | {cells[0]} | {cells[1]} |"


def rows_of_readme() -> list[str]:
    table = README.partition(HEADER)[2].partition("\n\n")[0]
    return re.findall(r"^\| `.*$", table, flags=re.MULTILINE)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: str(cls.__name__))
def test_the_readme_lists_the_knobs_of_every_class(cls: type[Any]) -> None:
    assert row(cls) in rows_of_readme()


def test_the_readme_lists_nothing_else() -> None:
    assert len(rows_of_readme()) == len(CLASSES)


def test_every_model_searches_the_parameters_of_its_base() -> None:
    """Or the model's own row would have to say that it does not."""
    for model in FAMILIES:
        for base in BASES:
            if issubclass(model, base):
                assert set(knobs(base)[0]) <= set(knobs(model)[0]), model
