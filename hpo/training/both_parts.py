"""Training on other rows than the data module's own training part: on the validation part too, or on a fold.

The data module has to do it: only it knows what it fits on which rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.errors import SpecError
from hpo.study.plan import TRAIN_AND_VALIDATION

METHOD = "learn_from_validation"
FOLD_METHOD = "take_fold"


def as_trained(data: Any, config: Mapping[str, Any]) -> None:
    """Let a data module that is not set up yet use the rows of a trial's training.

    Args:
        config: of the trial, and `training`, where it is not the first one of its trainings.

    Raises:
        SpecError: it cannot.
    """
    if config.get("trained_on") == TRAIN_AND_VALIDATION:
        learn_from_validation(data)
    if config.get("folds"):
        take_fold(data, config.get("training", 1), config["folds"])


def take_fold(data: Any, number: int, count: int) -> None:
    """Let a data module that is not set up yet validate on this fold, and train on the others.

    Raises:
        SpecError: it cannot.
    """
    method = getattr(data, FOLD_METHOD, None)
    if not callable(method):
        raise SpecError(
            f"{type(data).__name__} cannot divide its samples into folds: it has no method "
            f"{FOLD_METHOD}(number, count), which is called before its setup (docs/small-data.md)"
        )
    method(number, count)


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
