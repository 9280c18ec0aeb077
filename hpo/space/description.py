"""What a constructor takes, as plain data: the process that imports a class sends it to the one that resolves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from hpo.space.constructor import takes_any_name
from hpo.space.parameter import Owner
from hpo.space.reading import arguments_of, entry_arguments_of
from hpo.space.search_space import SearchSpace
from hpo.space.values import is_value, simplified


def description_of(target: Callable[..., Any], owner: Owner) -> dict[str, Any]:
    """The search space, the arguments, the known entries of arguments, whether it takes any name, and its portfolio.

    Raises:
        SpecError: a range, a default or a condition is invalid.
    """
    return {
        "space": SearchSpace.of(target, owner).to_json(),
        "arguments": [asdict(argument) for argument in arguments_of(target, owner)],
        "entries": [asdict(argument) for argument in entry_arguments_of(target, owner)],
        "takes_any": takes_any_name(target),
        "portfolio": _portfolio(getattr(target, "portfolio", ())),
    }


def _portfolio(points: object) -> list[Any]:
    """The points that a class says are worth a try, by arguments; none where its `portfolio` is something else."""
    found = list(points) if isinstance(points, list | tuple) else []
    return [simplified(point) for point in found if isinstance(point, dict) and is_value(point)]
