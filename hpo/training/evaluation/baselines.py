"""Simple models on the same split and metric, trained in seconds: what a network has to beat to be worth its while."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hpo.training.evaluation.fitted import Fitted
from hpo.training.evaluation.outputs import Outputs
from hpo.training.evaluation.scores import is_higher_better, statistic_of, with_intervals
from hpo.training.inspection.samples import Array, Samples
from hpo.training.inspection.series import is_forecast, spans_of

MOST_ROWS = 20_000  # of training, so that none takes longer than seconds
MOST_NUMBERS = 4_000  # of a sample, likewise
PENALTY = 1.0  # of the linear models, on standardised inputs


class _Guess(NamedTuple):
    """A simple model's predictions, in the form of `Outputs.predicted`."""

    name: str
    what: str
    predicted: Array


def baselines_of(fitted: Fitted, outputs: Outputs, compared: str, *, latent: int) -> list[dict[str, Any]]:
    """Each simple model with its metrics, and the network's gain in the compared one, with its interval.

    A gain is positive where the network is better; it `is_beaten` where the whole interval is above 0.

    Args:
        compared: the name of the score to compare by.
        latent: the length of an autoencoder's code.
    """
    statistic, sign = statistic_of(outputs), 1 if is_higher_better(compared) else -1
    found = []
    for guess in _guesses(fitted, outputs, latent):
        if guess.predicted.shape != outputs.predicted.shape or not np.isfinite(guess.predicted).all():
            continue
        gain = with_intervals(outputs, statistic, against=guess.predicted, only=compared)[compared]
        ends = sorted(sign * gain[end] for end in ("low", "high") if end in gain)
        scores = statistic(outputs.truth, guess.predicted)
        found.append(
            {
                "name": guess.name,
                "what": guess.what,
                "metrics": {name: value for name, value in scores.items() if np.isfinite(value)},
                "gain": {"value": sign * gain["value"], **dict(zip(("low", "high"), ends, strict=False))},
                "is_beaten": bool(ends and ends[0] > 0),
            }
        )
    return found


def _guesses(fitted: Fitted, outputs: Outputs, latent: int) -> Iterator[_Guess]:
    if outputs.task == "reconstruction":
        yield from _reconstructions(fitted, outputs, latent)
    elif is_forecast(fitted.data):
        yield from _forecasts(fitted, outputs)
    else:
        yield from _fitted(fitted, outputs)


class SimpleFit(NamedTuple):
    """A simple model of scikit-learn, fitted on the training part, on the numbers of a sample."""

    name: str
    what: str
    model: Any


def fitted_models(fitted: Fitted, outputs: Outputs) -> Iterator[SimpleFit]:
    """Those for this kind of data that learn from its training part."""
    if outputs.task == "reconstruction":
        return
    layout, train = outputs.layout, fitted.samples("train")
    if is_forecast(fitted.data):
        x, y = _flat(train.inputs[layout.main]), _flat(train.targets)
        step = max(1, math.ceil(len(x) / MOST_ROWS))
        if x.shape[1] <= MOST_NUMBERS:
            model = make_pipeline(StandardScaler(), Ridge(PENALTY)).fit(x[::step], y[::step])
            yield SimpleFit("linear autoregression", "from the window of the network", model)
        return
    x, y = _rows(outputs, train, most=MOST_ROWS)
    if x.shape[1] > MOST_NUMBERS:
        return
    are_several = y.ndim > 1 and y.shape[1] > 1
    for name, what, model in _kinds(outputs, several=are_several):
        yield SimpleFit(name, what, model.fit(x, y if are_several else y.reshape(len(y))))


def _kinds(outputs: Outputs, *, several: bool) -> list[tuple[str, str, Any]]:
    scaled = (SimpleImputer(keep_empty_features=True), StandardScaler())
    is_table = outputs.layout.kind == "table"
    if outputs.task == "classes":
        return [
            ("majority class", "always the most frequent class", DummyClassifier(strategy="prior")),
            ("logistic regression", _on(outputs), make_pipeline(*scaled, LogisticRegression(max_iter=1000))),
            _boosted(HistGradientBoostingClassifier(random_state=0))
            if is_table
            else ("nearest neighbour", _on(outputs), make_pipeline(*scaled, KNeighborsClassifier(1))),
        ]
    boosted: Any = HistGradientBoostingRegressor(random_state=0)
    return [
        ("mean", "always the mean of the training part", DummyRegressor()),
        ("linear regression", _on(outputs), make_pipeline(*scaled, Ridge(PENALTY))),
        _boosted(MultiOutputRegressor(boosted) if several else boosted)
        if is_table
        else ("nearest neighbour", _on(outputs), make_pipeline(*scaled, KNeighborsRegressor(1))),
    ]


def _fitted(fitted: Fitted, outputs: Outputs) -> Iterator[_Guess]:
    """Models of scikit-learn on the numbers of a sample, or of each step where targets are per step."""
    inputs, targets = _rows(outputs, fitted.samples())
    if len(targets) != len(outputs.truth):
        return
    for name, what, model in fitted_models(fitted, outputs):
        if outputs.task == "classes":
            probabilities = np.zeros((len(inputs), len(outputs.names)))
            probabilities[:, model.classes_.astype(int)] = model.predict_proba(inputs)
            yield _Guess(name, what, probabilities)
        else:
            yield _Guess(name, what, fitted.in_unit(np.reshape(model.predict(inputs), (len(inputs), -1))))


def _boosted(model: Any) -> tuple[str, str, Any]:
    return "gradient boosting", f"{type(model).__name__.removeprefix('MultiOutput')} of scikit-learn, as it is", model


def _on(outputs: Outputs) -> str:
    return {"images": "on the pixels", "table": "on the columns"}.get(outputs.layout.kind, "on all numbers of a sample")


def _rows(outputs: Outputs, samples: Samples, *, most: int | None = None) -> tuple[Array, Array]:
    """Numbers (rows, columns), and targets: class numbers (rows,), or values (rows, outputs)."""
    layout = outputs.layout
    x, y = layout.predictors(samples)
    if y.dtype.kind == "f" and outputs.task == "classes" and y.ndim > 1:
        y = y.argmax(-1) if y.shape[-1] > 1 else y[..., 0]
    if outputs.task == "classes":
        y = y.reshape(-1).astype(np.int64)
        known = y >= 0
    else:
        y = y.astype(np.float64).reshape(len(x), -1)
        known = np.asarray(np.isfinite(y).all(1))
    x, y = x[known].astype(np.float64), y[known]
    step = 1 if most is None else max(1, math.ceil(len(x) / most))
    return x[::step], y[::step]


def _forecasts(fitted: Fitted, outputs: Outputs) -> Iterator[_Guess]:
    """The last value, the last one of the season, and a linear autoregression from the network's own window."""
    layout, parts = outputs.layout, [fitted.samples("train"), fitted.samples("validation")]
    judged = fitted.samples()
    if fitted.part == "test":
        parts.append(judged)
    inputs = _flat(judged.inputs[layout.main])
    if len(inputs) == len(outputs.truth):
        for name, what, model in fitted_models(fitted, outputs):
            yield _Guess(name, what, fitted.in_unit(np.reshape(model.predict(inputs), (len(inputs), -1))))
    known = getattr(fitted.data, "known_before", None)
    if callable(known):  # the data module says what was known when a forecast was made
        for name, lag in (("last value", 1), ("seasonal last value", int(getattr(fitted.data, "season", 0) or 0))):
            if lag:
                yield _Guess(
                    name, f"the value {lag} steps before" if lag > 1 else "", np.asarray(known(fitted.part, lag))
                )
        return
    spans = [span for span in spans_of(fitted.data, parts) if span.part == fitted.part and not span.series]
    if len(spans) == 1 and outputs.truth.shape[1] == 1:
        before = np.concatenate([[np.nan], spans[0].values[:-1]])[:, None]
        yield _Guess(
            "last value", "the value of the step before", np.where(np.isnan(before), spans[0].values[0], before)
        )


def _reconstructions(fitted: Fitted, outputs: Outputs, latent: int) -> Iterator[_Guess]:
    train = fitted.samples("train")
    x, inputs = _flat(train.inputs[outputs.layout.main])[:MOST_ROWS], outputs.truth
    if x.shape[1] != inputs.shape[1] or x.shape[1] > MOST_NUMBERS:
        return
    yield _Guess("mean", "always the mean of the training part", np.broadcast_to(x.mean(0), inputs.shape).copy())
    numbers = min(latent, *x.shape)
    model = PCA(numbers, random_state=0).fit(x)
    restored = model.inverse_transform(model.transform(inputs))
    yield _Guess("principal components", f"{numbers}, as many as the code has numbers", restored)


def _flat(array: Any) -> Array:
    return np.asarray(array, np.float64).reshape(len(array), -1)
