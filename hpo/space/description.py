"""What a constructor takes, as plain data: the process that imports a class sends it to the one that resolves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from hpo.space.constructor import takes_any_name
from hpo.space.parameter import Owner
from hpo.space.reading import arguments_of, entry_arguments_of
from hpo.space.search_space import SearchSpace


def description_of(target: Callable[..., Any], owner: Owner) -> dict[str, Any]:
    """The search space, the arguments, the known entries of arguments, and whether it takes arguments of any name.

    Raises:
        SpecError: a range, a default or a condition is invalid.
    """
    return {
        "space": SearchSpace.of(target, owner).to_json(),
        "arguments": [asdict(argument) for argument in arguments_of(target, owner)],
        "entries": [asdict(argument) for argument in entry_arguments_of(target, owner)],
        "takes_any": takes_any_name(target),
    }
