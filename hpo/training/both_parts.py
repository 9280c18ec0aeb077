"""Training on the validation part too, which the data module has to do: only it knows what it fits on which rows."""

from __future__ import annotations

from typing import Any

from hpo.errors import SpecError

METHOD = "learn_from_validation"


def learn_from_validation(data: Any) -> None:
    """Let a data module that is not set up yet train, and fit its scalings and the like, on both parts.

    Raises:
        SpecError: it cannot.
    """
    method = getattr(data, METHOD, None)
    if not callable(method):
        raise SpecError(
            f"{type(data).__name__} cannot be trained on its training and validation parts together: it has no method "
            f"{METHOD}(), which is called before its setup (docs/finalize.md)"
        )
    method()
