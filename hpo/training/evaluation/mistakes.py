"""Where a model is wrong: the samples with the largest loss, and the slices of the data that it is worse on."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from hpo.training.evaluation.fitted import Fitted
from hpo.training.evaluation.outputs import Outputs
from hpo.training.evaluation.pictures import sample_picture
from hpo.training.evaluation.scores import LEAST_PROBABILITY, is_higher_better, statistic_of, with_intervals
from hpo.training.inspection.samples import Array

WORST = 12  # samples that are shown
MOST_SLICES, FEWEST_SAMPLES = 12, 10  # that are told, and in each
MOST_CATEGORIES = 12  # of a column: more are like names


def worst_mistakes(fitted: Fitted, outputs: Outputs) -> list[dict[str, Any]]:
    """The samples with the largest loss, the worst first.

    Each with its target and prediction in words, its loss, a picture where it has one, and the values that were read.
    These are there where the data module has a method `original(part)`, which gives a row of a data frame for each
    sample, or an array of images before their scaling.
    """
    losses = _losses(outputs)
    worst = np.argsort(-losses, kind="stable")[:WORST]
    inputs, original = as_read(fitted, outputs), original_of(fitted, outputs)
    found = []
    for sample in worst.tolist():
        rows = np.flatnonzero(outputs.sample == sample)
        if outputs.task == "classes" and (outputs.predicted[rows].argmax(1) == outputs.truth[rows]).all():
            continue  # the least certain of the right ones is no mistake
        again = outputs.predicted[rows[0]] if outputs.task == "reconstruction" else None
        picture = sample_picture(outputs.layout, inputs[sample], again) if sample < len(inputs) else None
        values = {} if original is None else {str(name): _plain(item) for name, item in original.iloc[sample].items()}
        target, predicted = _in_words(outputs, rows)
        found.append(
            {
                "sample": sample,
                "target": target,
                "predicted": predicted,
                "loss": float(losses[sample]),
                "picture": picture,
                "values": values,
            }
        )
    return found


def slices_of(fitted: Fitted, outputs: Outputs, compared: str) -> list[dict[str, Any]]:
    """Values of columns, or their quarters, on which the compared score is worse than on all: the worst first."""
    original = original_of(fitted, outputs)
    if original is None or len(outputs.truth) != outputs.samples:
        return []
    statistic, sign = statistic_of(outputs), 1 if is_higher_better(compared) else -1
    whole = statistic(outputs.truth, outputs.predicted, compared)[compared]
    worse: list[tuple[float, str, str, Array]] = []
    for name in original.columns:
        for value, rows in _groups(original[name]):
            if not FEWEST_SAMPLES <= len(rows) < len(original):
                continue
            score = statistic(outputs.truth[rows], outputs.predicted[rows], compared).get(compared, float("nan"))
            if np.isfinite(score) and sign * (score - whole) < 0:
                worse.append((sign * (score - whole), str(name), value, rows))
    worse.sort(key=lambda found: found[0])
    return [_slice(outputs, name, value, rows, compared) for _, name, value, rows in worse[:MOST_SLICES]]


def _slice(outputs: Outputs, name: str, value: str, rows: Array, compared: str) -> dict[str, Any]:
    part = dataclasses.replace(
        outputs, truth=outputs.truth[rows], predicted=outputs.predicted[rows], sample=np.arange(len(rows))
    )
    scored = with_intervals(part, statistic_of(outputs), only=compared)[compared]
    ends: dict[str, Any] = {end: scored[end] for end in ("low", "high") if end in scored}
    of = {"of": name, "value": value, "samples": len(rows), "metric": compared}
    return {**of, "value_of_metric": scored["value"], **ends}


def as_read(fitted: Fitted, outputs: Outputs) -> Array:
    """The main input of the part's samples for pictures: before scaling, where the data module says so."""
    ask = getattr(fitted.data, "original", None)
    found = ask(fitted.part) if callable(ask) else None
    inputs = fitted.samples().inputs[outputs.layout.main]
    return found if isinstance(found, np.ndarray) and len(found) == outputs.samples else inputs


def original_of(fitted: Fitted, outputs: Outputs) -> pd.DataFrame | None:
    """The samples as they were read, a row each; None where the data module does not say."""
    ask = getattr(fitted.data, "original", None)
    frame = ask(fitted.part) if callable(ask) else None
    is_fitting = isinstance(frame, pd.DataFrame) and len(frame) == outputs.samples
    return frame.reset_index(drop=True) if is_fitting and frame is not None else None


def _losses(outputs: Outputs) -> Array:
    """Of each sample, the mean over its rows: log loss, or squared error in units of the targets' deviation."""
    if outputs.task == "classes":
        likely = outputs.predicted[np.arange(len(outputs.truth)), outputs.truth]
        losses = -np.log(np.clip(likely, LEAST_PROBABILITY, 1))
    else:
        spread = outputs.truth.std(axis=0) if outputs.task == "values" else np.ones(1)
        losses = np.square((outputs.predicted - outputs.truth) / np.where(spread > 0, spread, 1)).mean(axis=1)
    totals = np.bincount(outputs.sample, weights=losses, minlength=outputs.samples)
    return np.asarray(totals / np.maximum(1, np.bincount(outputs.sample, minlength=outputs.samples)))


def _in_words(outputs: Outputs, rows: Array) -> tuple[str, str]:
    """A sample's target and prediction."""
    if outputs.task == "reconstruction":
        label = "" if outputs.labels is None else outputs.layout.classes[int(outputs.labels[rows[0]])]
        return label, "its reconstruction"
    if outputs.task == "values":
        both = (outputs.truth[rows[0]][:4], outputs.predicted[rows[0]][:4])
        truth, guessed = (", ".join(f"{value:.4g}" for value in values) for values in both)
        return truth, guessed
    wrong = rows[outputs.predicted[rows].argmax(1) != outputs.truth[rows]]
    row = int(wrong[0])
    guess = int(outputs.predicted[row].argmax())
    of = f" ({len(wrong)} of {len(rows)} targets are wrong)" if len(rows) > 1 else ""
    share = f"{outputs.predicted[row, guess]:.0%}"
    return outputs.names[int(outputs.truth[row])], f"{outputs.names[guess]}, with {share}{of}"


def _groups(column: pd.Series) -> list[tuple[str, Array]]:
    """The rows of each value of a column of few, or of each quarter of its numbers."""
    known = column.notna()
    groups = [] if known.all() else [("(missing)", np.flatnonzero(~known))]
    if column.nunique() <= MOST_CATEGORIES:
        values = sorted(column[known].unique(), key=str)
        groups += [(str(value), np.flatnonzero(column == value)) for value in values]
    elif pd.api.types.is_numeric_dtype(column):
        quarters = pd.qcut(column, 4, duplicates="drop")
        groups += [
            (f"{interval.left:.4g} to {interval.right:.4g}", np.flatnonzero(quarters == interval))
            for interval in quarters.cat.categories
        ]
    return groups


def _plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else str(value) if not isinstance(value, str | int | float) else value
