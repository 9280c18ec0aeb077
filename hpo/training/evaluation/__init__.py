"""Evaluates trained models on one part of a study's data, beside simple models on the same split, in its own process.

Answers with plain values, by name:
    part, task, samples, targets   what was evaluated: the part, the kind of task, and how many of each
    metrics      by name {value, low, high}: with a bootstrap interval of 95 %
    logged       the metrics that the module itself logs
    objective    the metric that models are compared by, and its value
    classes      of a classification: precision, recall, F1 and the number of targets of each class
    confusion    (true classes, predicted classes)
    calibration  reliability curve: confidence, accuracy and count of each bin
    outputs      of a regression: the scores of each value, or of each step of a forecast
    residuals    their quantiles and histogram, and up to 300 pairs of (truth, prediction)
    baselines    simple models: their metrics, and the network's gain in the objective with its interval
    mistakes     the samples with the largest loss: target, prediction, loss, picture, values
    slices       values of columns on which the compared metric is worse
    explanations  importances and pictures: name, what, table, picture
    fingerprint  of the part's targets
    notes        what could not be evaluated, and why
"""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from threadpoolctl import threadpool_limits

from hpo.ipc.channel import Channel, Message
from hpo.printable import counted
from hpo.study.job import EvaluationJob
from hpo.training.devices import prepare_device
from hpo.training.evaluation.baselines import baselines_of
from hpo.training.evaluation.explain import explanations_of
from hpo.training.evaluation.fitted import fitted_data
from hpo.training.evaluation.mistakes import slices_of, worst_mistakes
from hpo.training.evaluation.outputs import Outputs, logged_metrics
from hpo.training.evaluation.scores import compared_metric, scores_of
from hpo.training.evaluation.selection import select
from hpo.training.evaluation.together import groups_of, outputs_together
from hpo.training.output import TrialOutput
from hpo.training.trial import reason_of


def run_evaluation(job: EvaluationJob, channel: Channel) -> None:
    """Evaluate, and answer with one message: what was found, or the reason for a failure."""
    TrialOutput(lambda _: None).redirect(None)
    try:
        prepare_device(job)
        answer = {"kind": "evaluated", **evaluate(job)}
    except BaseException as error:  # of any kind: it is reported
        answer = {"kind": "failed", "reason": reason_of(error, Path(job.project))}
    channel.send(answer)
    # Without the interpreter's clean-up, in which native libraries may hang.
    os._exit(0)


def evaluate(job: EvaluationJob) -> Message:
    """What the models of the job, together, give on the part, see above; or the ensemble that it selects.

    Raises:
        EvaluationError: the data has no such part, or a model cannot be evaluated on it.
        HpoError: a checkpoint cannot be read, or a class not be built.
    """
    pl.seed_everything(job.seed, workers=True, verbose=False)
    # OpenMP's threads wait actively: on cores that others use, boosting takes a hundred times as long with too many.
    with threadpool_limits(job.threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the user's classes, and of fits of simple models: they were told before
        if job.checks_only:
            return {"samples": fitted_data(job, job.models[0]).count()}
        if job.selects:
            return select(job)
        groups = list(groups_of(job))
        fitted, models = groups[0].fitted, groups[0].models
        outputs, notes = outputs_together(groups)
        answer: dict[str, Any] = {"part": job.part, "logged": logged_metrics(models[0], fitted, job), "notes": notes}
        if outputs is None:
            return answer
        answer |= scores_of(outputs)
        compared = compared_metric(job.metric, outputs)
        answer["objective"] = {"metric": job.metric, "name": compared, **answer["metrics"][compared]}
        answer["baselines"] = baselines_of(fitted, outputs, compared, latent=_latent(models[0]))
        if job.explains:
            answer["mistakes"] = worst_mistakes(fitted, outputs)
            answer["slices"] = slices_of(fitted, outputs, compared)
            answer["explanations"], more = explanations_of(groups[0], outputs, compared)
            notes += more
            if len(groups) > 1:
                notes.append(
                    f"explanations are of {counted(len(models), 'model')} of the ensemble's {len(job.models)}: those "
                    "that take the same inputs as the first"
                )
        return answer | {"fingerprint": _fingerprint(outputs)}


def _latent(model: Any) -> int:
    found = getattr(model, "hparams", {}).get("latent")
    return found if isinstance(found, int) else 8


def _fingerprint(outputs: Outputs) -> str:
    """Of a part's targets, in an unit that does not depend on how they were prepared."""
    truth = np.ascontiguousarray(outputs.truth)
    if truth.dtype.kind != "i":
        truth = np.round(truth.astype(np.float64), 6) + 0.0  # no negative zeros
    return hashlib.sha256(f"{outputs.samples} {truth.shape}".encode() + truth.tobytes()).hexdigest()
