"""The models of an evaluation with their data, which those share that were trained on data of the same arguments."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pytorch_lightning import LightningModule

from hpo.study.job import OWN_LOADERS, EvaluationJob, TrainedModel
from hpo.training.evaluation.fitted import EvaluationError, Fitted, fitted_data
from hpo.training.evaluation.outputs import Outputs, averaged, outputs_of


@dataclass(frozen=True)
class Group:
    """Models that take the same inputs, with their data.

    Attributes:
        places: of these models among all those of the evaluation.
    """

    fitted: Fitted
    models: Sequence[LightningModule]
    weights: Sequence[int]
    places: Sequence[int]


def groups_of(job: EvaluationJob) -> Iterator[Group]:
    """The models of a job, each loaded when it is asked for; the group of the first model first.

    Raises:
        EvaluationError: the data has no such part.
        HpoError: a checkpoint cannot be read, or a class not be built.
    """
    places: dict[str, list[int]] = {}
    for place, trained in enumerate(job.models):
        places.setdefault(_inputs_of(trained), []).append(place)
    for several in places.values():
        mine = [job.models[place] for place in several]
        fitted = fitted_data(job, mine[0])
        models = [fitted.model(trained) for trained in mine]
        yield Group(fitted, models, [trained.weight for trained in mine], several)


def outputs_together(groups: Sequence[Group]) -> tuple[Outputs | None, list[str]]:
    """The weighted average of what the models of all groups give; and notes on what could not be evaluated.

    Raises:
        EvaluationError: the part gives no batches, or the models were trained for different targets.
    """
    found: list[Outputs] = []
    for group in groups:
        for model in group.models:
            outputs, notes = outputs_of(model, group.fitted)
            if outputs is None:
                return None, notes
            if found and not are_of_same_targets(found[0], outputs):
                raise EvaluationError("the models of the ensemble have different targets, and cannot be averaged")
            found.append(outputs)
    return averaged(found, [weight for group in groups for weight in group.weights]), []


def are_of_same_targets(one: Outputs, other: Outputs) -> bool:
    """Whether they are outputs for the same samples; values are compared up to the rounding of their preparation."""
    if (one.task, one.names, one.truth.shape) != (other.task, other.names, other.truth.shape):
        return False
    if one.task == "classes":
        return np.array_equal(one.truth, other.truth)
    scale = float(np.abs(one.truth).max(initial=0.0))
    return np.allclose(one.truth, other.truth, rtol=1e-5, atol=1e-5 * max(scale, 1e-30))


def _inputs_of(trained: TrainedModel) -> str:
    """What decides about the data of a model: of a study without a data module, the model too."""
    config = trained.config
    own = config.get("data", {}).get("class", OWN_LOADERS) == OWN_LOADERS
    rows = [config.get("trained_on"), config.get("training") if config.get("folds") else None]
    parts = [config.get("data"), rows, config["model"] if own else None]
    return json.dumps(parts, sort_keys=True, default=str)
