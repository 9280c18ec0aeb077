"""Why a model decides so: importances of a table's columns, and what predictions for other samples rest on.

A table's columns are permuted (scikit-learn); images, sequences and windows of a series have integrated gradients by
captum: Sundararajan et al. 2017, arXiv 1703.01365.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule
from sklearn.inspection import permutation_importance
from torch import Tensor

from hpo.training.evaluation.fitted import Fitted
from hpo.training.evaluation.mistakes import as_read
from hpo.training.evaluation.outputs import Outputs, predicted_of
from hpo.training.evaluation.pictures import attribution_picture, lag_picture
from hpo.training.evaluation.scores import is_higher_better, statistic_of
from hpo.training.evaluation.together import Group
from hpo.training.inspection.samples import Array, _split
from hpo.training.inspection.series import is_forecast

REPEATS = 10  # permutations of a column
MOST_ROWS = 5_000
MOST_COLUMNS = 60
SHOWN = 6  # samples of a picture
STEPS = 32  # of the integral
MOST_AVERAGED = 200  # samples whose attributions are averaged
INSTALL = "install the extra for pictures of what a model looks at: pip install 'hpo-service[explain]'"


def explanations_of(group: Group, outputs: Outputs, compared: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Explanations, each {name, what, table, picture}; and notes on what could not be explained."""
    fitted = group.fitted
    if outputs.task == "reconstruction":
        return [], []
    if outputs.layout.kind == "table":
        return [_permuted(group, outputs, compared)], []
    if outputs.layout.kind not in ("images", "sequences"):
        return [], [f"inputs of the shape {fitted.samples().inputs[outputs.layout.main].shape[1:]} are not explained"]
    try:
        import captum.attr  # noqa: F401
    except ImportError:
        return [], [INSTALL]
    try:
        return _attributed(group.models[0], fitted, outputs), []
    except Exception as error:  # of the user's code, or of an operation without gradients
        return [], [f"integrated gradients cannot be computed: {type(error).__name__}: {error}"]


def _permuted(group: Group, outputs: Outputs, compared: str) -> dict[str, Any]:
    """By how much the compared score falls when a column's values are given to other rows.

    Numbers that were made of one column, as of a date, are permuted together. scikit-learn permutes the columns of a
    matrix of row numbers, from which the rows of each column are then taken.
    """
    fitted = group.fitted
    samples, layout = fitted.samples(), outputs.layout
    rows = np.arange(min(len(outputs.truth), MOST_ROWS))
    columns = _columns(fitted, layout.features)
    names = list(dict.fromkeys(columns))
    main = samples.inputs[layout.main]
    categories = None if layout.categories is None else samples.inputs[layout.categories]
    statistic, sign = statistic_of(outputs), 1 if is_higher_better(compared) else -1

    class Pointed:
        def fit(self, *_: Any) -> None: ...

        def predict(self, pointers: Array) -> Array:
            taken = {name: pointers[:, number] for number, name in enumerate(names)}
            numbers = np.column_stack([main[taken[columns[place]], place] for place in range(main.shape[1])])
            arrays = {layout.main: numbers.astype(main.dtype)}
            if layout.categories is not None and categories is not None:
                first = main.shape[1]
                codes = [categories[taken[columns[first + at]], at] for at in range(categories.shape[1])]
                arrays[layout.categories] = np.column_stack(codes)
            return predicted_of(group.models, fitted, outputs, arrays, group.weights)

    def score(model: Pointed, pointers: Array, truth: Array) -> float:
        return sign * statistic(truth, model.predict(pointers), compared)[compared]

    found = permutation_importance(
        Pointed(),
        np.column_stack([rows] * len(names)),
        outputs.truth[rows],
        scoring=score,
        n_repeats=REPEATS,
        random_state=0,
    )
    low, high = np.percentile(found.importances, [2.5, 97.5], axis=1)
    order = np.argsort(-found.importances_mean)[:MOST_COLUMNS]
    return {
        "name": "importance of the columns",
        "what": f"by how much {compared} is worse when the column's values are given to other samples",
        "table": [
            {
                "name": names[number],
                "value": float(found.importances_mean[number]),
                "low": float(low[number]),
                "high": float(high[number]),
            }
            for number in order.tolist()
        ],
        "picture": None,
    }


def _columns(fitted: Fitted, features: tuple[str, ...]) -> tuple[str, ...]:
    """The column that each of the network's inputs was made of, where the data module has `source_columns`."""
    known = tuple(map(str, getattr(fitted.data, "source_columns", ())))
    return known if len(known) == len(features) else features


def _attributed(model: LightningModule, fitted: Fitted, outputs: Outputs) -> list[dict[str, Any]]:
    """Integrated gradients from a blank sample, of the predicted class or value."""
    from captum.attr import IntegratedGradients

    layout = outputs.layout
    tensors = _some_inputs(fitted, layout.main)
    main = tensors.pop(layout.main)
    others = tuple(tensors.values())

    def forward(inputs: Tensor, *rest: Tensor) -> Tensor:
        found: Tensor = model((inputs, *rest)) if rest else model(inputs)
        return found.reshape(len(found), -1)

    with torch.no_grad():
        given = forward(main, *others)
    several = given.shape[1] > 1 and outputs.task == "classes" and not layout.is_per_step
    target = given.argmax(1) if several else 0
    gradients = IntegratedGradients(forward)
    # captum repeats the samples for each step of the integral, so they come in small batches
    found = gradients.attribute(
        main, additional_forward_args=others or None, target=target, n_steps=STEPS, internal_batch_size=512
    )
    attributions, shown = found.detach().cpu().numpy(), main.detach().cpu().numpy()
    if is_forecast(fitted.data):
        strength = np.abs(attributions).mean(axis=(0, 2))
        return [
            {
                "name": "what a forecast rests on",
                "what": "the mean size of integrated gradients at each step of the window",
                "table": _of_features(layout.features, np.abs(attributions).mean(axis=(0, 1))),
                "picture": lag_picture(strength),
            }
        ]
    chosen = _chosen(outputs, len(shown))
    if layout.kind == "images":
        shown = as_read(fitted, outputs)[: len(shown)]
    titles = [_title(outputs, number) for number in chosen]
    table = None
    if layout.kind == "sequences":
        table = _of_features(layout.features, np.abs(attributions).mean(axis=(0, 1)))
    return [
        {
            "name": "what a prediction rests on",
            "what": "integrated gradients of the predicted class: red speaks for it, blue against it",
            "table": table,
            "picture": attribution_picture(layout, shown[chosen], attributions[chosen], titles),
        }
    ]


def _some_inputs(fitted: Fitted, main: str) -> dict[str, Tensor]:
    """Of the first samples, as batches give them to the model."""
    found: dict[str, list[Tensor]] = {}
    count = 0
    for batch in fitted.loader():
        tensors, _, _ = _split(batch)
        for name, tensor in tensors.items():
            found.setdefault(name, []).append(tensor)
        count += len(tensors[main])
        if count >= MOST_AVERAGED:
            break
    first = {name: parts[0] if len(parts) == 1 else torch.cat(parts) for name, parts in found.items()}
    return {name: tensor[:MOST_AVERAGED].to(fitted.device) for name, tensor in first.items()}


def _chosen(outputs: Outputs, count: int) -> list[int]:
    """Samples to show: wrong ones first, then one of each class."""
    if outputs.task != "classes" or len(outputs.truth) != outputs.samples:
        return list(range(min(SHOWN, count)))
    truth, guesses = outputs.truth[:count], outputs.predicted[:count].argmax(1)
    wrong = np.flatnonzero(truth != guesses).tolist()[: SHOWN // 2]
    right = [
        int(np.flatnonzero((truth == number) & (truth == guesses))[0]) for number in np.unique(truth[truth == guesses])
    ]
    return [*wrong, *right][:SHOWN]


def _title(outputs: Outputs, sample: int) -> str:
    if outputs.task != "classes" or len(outputs.truth) != outputs.samples:
        return f"sample {sample + 1}"
    truth, guess = int(outputs.truth[sample]), int(outputs.predicted[sample].argmax())
    return f"{outputs.names[guess]}" + ("" if truth == guess else f"\n(is {outputs.names[truth]})")


def _of_features(names: tuple[str, ...], strength: Array) -> list[dict[str, Any]]:
    share = strength / (strength.sum() or 1.0)
    order = np.argsort(-share)[:MOST_COLUMNS]
    return [{"name": names[number], "value": float(share[number])} for number in order.tolist()]
