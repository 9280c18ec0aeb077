"""What people would pick instead of a search: models at their defaults, trained in seconds, on the same split.

Each is fitted on the training and validation parts together, as somebody without a search would do; what is tuned is
fitted on the training part until its choice is made by the validation part.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import optuna
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifierCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from models.data import Images, Sequences, Series, Table
from tasks.data import Task

Array = NDArray[Any]
PARTS = ("train", "validation", "test")
TUNED_TRIALS = 30
KERNELS = 2_000
PENALTIES = np.logspace(-3, 5, 17)
THREADS = 2


class Parts(NamedTuple):
    """Inputs and targets of the parts: class numbers, or values in their own unit."""

    x: dict[str, Any]
    y: dict[str, Array]

    def both(self) -> tuple[Any, Array]:
        """Training and validation together."""
        first, second = self.x["train"], self.x["validation"]
        x = pd.concat([first, second]) if isinstance(first, pd.DataFrame) else np.concatenate([first, second])
        return x, np.concatenate([self.y["train"], self.y["validation"]])


class Score(NamedTuple):
    model: str
    value: float  # accuracy, or root mean squared error, on the test part
    seconds: float


def rival_scores(task: Task, path: str, seed: int) -> Iterator[Score]:
    """The scores of all simple models on the test part of a split."""
    makers: dict[str, Callable[[Task, str, int], Iterator[tuple[str, Callable[[], Array]]]]] = {
        "table": _of_table, "sequences": _of_sequences, "series": _of_series, "images": _of_images
    }  # fmt: skip
    truth = parts_of(task, path, seed).y["test"]
    for name, predict in makers[task.kind](task, path, seed):
        started = time.monotonic()
        predicted = predict()
        yield Score(name, _score(task, truth, predicted), time.monotonic() - started)


def _score(task: Task, truth: Array, predicted: Array) -> float:
    if task.is_higher_better:
        return float((truth == predicted).mean())
    return float(np.sqrt(np.square(truth.reshape(len(truth), -1) - predicted.reshape(len(truth), -1)).mean()))


def parts_of(task: Task, path: str, seed: int, **more: Any) -> Parts:
    """The split that a search with the data module's `split_seed` has."""
    if task.kind == "table":
        data: Any = Table(path, split_seed=seed, **task.data)
    elif task.kind == "sequences":
        data = Sequences(path, split_seed=seed, scaling="none", **task.data)
    elif task.kind == "series":
        data = Series(path, differencing="none", scaling="none", **task.data, **more)
    else:
        data = Images(path, split_seed=seed, scaling="unit")
    data.setup("fit")
    data.setup("test")
    found: dict[str, Any] = {name: data.part(name) for name in PARTS}
    mean, scale = np.array(data.target_mean or (0.0,)), np.array(data.target_scale or (1.0,))
    y = {name: part.targets.numpy() for name, part in found.items()}
    if task.kind == "table":
        x: dict[str, Any] = {name: data.original(name) for name in PARTS}
    else:
        x = {name: _inputs(part) for name, part in found.items()}
    return Parts(x, y if task.is_higher_better else {name: values * scale + mean for name, values in y.items()})


def _inputs(part: Any) -> Array:
    inputs = part.inputs[0] if isinstance(part.inputs, tuple | list) else part.inputs
    rows = slice(None) if part.rows is None else part.rows.numpy()
    return np.asarray(inputs)[rows]


def _predicted(model: Any, x: Any, y: Array, test: Any) -> Array:
    found: Array = model.fit(x, y).predict(test)
    return found


# ---- tables


def _columns(frame: pd.DataFrame) -> Any:
    numbers = frame.select_dtypes("number").columns
    others = frame.columns.difference(numbers)
    return make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), others),
    )


def _of_table(task: Task, path: str, seed: int) -> Iterator[tuple[str, Callable[[], Array]]]:
    parts = parts_of(task, path, seed)
    is_classes = task.is_higher_better
    models: dict[str, Any] = {
        "majority or mean": DummyClassifier() if is_classes else DummyRegressor(),
        "linear": LogisticRegression(max_iter=1000) if is_classes else Ridge(),
        "random forest": (RandomForestClassifier if is_classes else RandomForestRegressor)(
            n_jobs=THREADS, random_state=seed
        ),
        "MLP of scikit-learn": (MLPClassifier if is_classes else MLPRegressor)(max_iter=500, random_state=seed),
        "gradient boosting": _boosting(is_classes, seed),
    }
    x, y = parts.both()
    y = y if is_classes else y[:, 0]
    for name, model in models.items():
        fitted = make_pipeline(_columns(x), model)
        yield name, partial(_predicted, fitted, x, y, parts.x["test"])
    yield "gradient boosting, tuned", lambda: _tuned(task, parts, seed)


def _boosting(is_classes: bool, seed: int, **chosen: Any) -> Any:
    model = HistGradientBoostingClassifier if is_classes else HistGradientBoostingRegressor
    return model(random_state=seed, **chosen)


def _tuned(task: Task, parts: Parts, seed: int) -> Array:
    """By 30 trials of Optuna's TPE on the validation part; then fitted on both parts."""
    is_classes = task.is_higher_better
    y = {name: values if is_classes else values[:, 0] for name, values in parts.y.items()}

    def value(trial: optuna.Trial) -> float:
        chosen = {
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
            "max_iter": trial.suggest_int("max_iter", 50, 500, log=True),
            "max_leaf_nodes": trial.suggest_int("max_leaf_nodes", 7, 127, log=True),
            "min_samples_leaf": trial.suggest_int("min_samples_leaf", 3, 60, log=True),
            "l2_regularization": trial.suggest_float("l2_regularization", 1e-4, 10.0, log=True),
        }
        model = make_pipeline(_columns(parts.x["train"]), _boosting(is_classes, seed, **chosen))
        predicted = model.fit(parts.x["train"], y["train"]).predict(parts.x["validation"])
        score = _score(task, y["validation"], predicted)
        trial.set_user_attr("chosen", chosen)
        return score

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize" if is_classes else "minimize", sampler=optuna.samplers.TPESampler(seed=seed)
    )
    study.optimize(value, n_trials=TUNED_TRIALS)
    best: dict[str, Any] = study.best_trial.user_attrs["chosen"]
    x, both = parts.both()
    model = make_pipeline(_columns(x), _boosting(is_classes, seed, **best))
    found: Array = model.fit(x, both if is_classes else both[:, 0]).predict(parts.x["test"])
    return found


# ---- sequences and images


def _of_sequences(task: Task, path: str, seed: int) -> Iterator[tuple[str, Callable[[], Array]]]:
    parts = parts_of(task, path, seed)
    x, y = parts.both()
    flat, test = x.reshape(len(x), -1), parts.x["test"].reshape(len(parts.x["test"]), -1)
    yield "majority or mean", lambda: DummyClassifier().fit(flat, y).predict(test)
    yield "1-NN", lambda: KNeighborsClassifier(1).fit(flat, y).predict(test)

    def random_kernels() -> Array:
        kernels = _kernels(x.shape[2], x.shape[1], seed)
        model = make_pipeline(StandardScaler(), RidgeClassifierCV(PENALTIES))
        found: Array = model.fit(_transformed(x, kernels), y).predict(_transformed(parts.x["test"], kernels))
        return found

    yield "random kernels", random_kernels


def _kernels(features: int, steps: int, seed: int) -> list[tuple[torch.Tensor, float, int, int]]:
    """Of ROCKET: weights, bias, dilation, padding; Dempster et al. 2020, arXiv 1910.13051."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(KERNELS):
        length = int(draw.choice([size for size in (7, 9, 11) if size <= steps] or [3]))
        weights = draw.normal(size=(1, features, length))
        weights -= weights.mean()
        dilation = int(2 ** draw.uniform(0, np.log2(max(1, (steps - 1) / (length - 1)))))
        padding = (length - 1) * dilation // 2 if draw.random() < 0.5 else 0
        found.append((torch.tensor(weights, dtype=torch.float32), float(draw.uniform(-1, 1)), dilation, padding))
    return found


def _transformed(x: Array, kernels: list[tuple[torch.Tensor, float, int, int]]) -> Array:
    """The share of positive values and the largest one, of each kernel: (samples, 2 * kernels)."""
    inputs = torch.from_numpy(x).float().transpose(1, 2)
    deviation = inputs.std(2, keepdim=True).clamp(min=1e-6)
    inputs = (inputs - inputs.mean(2, keepdim=True)) / deviation
    columns = []
    for weights, bias, dilation, padding in kernels:
        found = torch.nn.functional.conv1d(inputs, weights, dilation=dilation, padding=padding)[:, 0] + bias
        columns += [(found > 0).float().mean(1), found.amax(1)]
    return torch.stack(columns, 1).numpy()


def _of_images(task: Task, path: str, seed: int) -> Iterator[tuple[str, Callable[[], Array]]]:
    parts = parts_of(task, path, seed)
    x, y = parts.both()
    flat, test = x.reshape(len(x), -1), parts.x["test"].reshape(len(parts.x["test"]), -1)
    models = {
        "majority or mean": DummyClassifier(),
        "linear": make_pipeline(StandardScaler(), LogisticRegression(max_iter=100)),
        "1-NN": KNeighborsClassifier(1),
        "random forest": RandomForestClassifier(n_jobs=THREADS, random_state=seed),
    }
    for name, model in models.items():
        yield name, partial(_predicted, model, flat, y, test)


# ---- series


def _of_series(task: Task, path: str, seed: int) -> Iterator[tuple[str, Callable[[], Array]]]:
    period = int(task.data["period"])
    parts = parts_of(task, path, seed, window=2 * period)
    levels = parts.x["test"][:, :, 0]
    yield "last value", lambda: levels[:, -1]
    yield "seasonal last value", lambda: levels[:, -period]
    yield "ridge on the window", lambda: _ridge(task, path, seed, period)


def _ridge(task: Task, path: str, seed: int, period: int) -> Array:
    """Its window, of one to three seasons, and its penalty are chosen by the validation part."""
    best: tuple[float, Parts, float] | None = None
    for seasons in (1, 2, 3):
        try:
            parts = parts_of(task, path, seed, window=seasons * period)
        except ValueError:  # a short series
            continue
        flat = {name: x.reshape(len(x), -1) for name, x in parts.x.items()}
        parts = Parts(flat, parts.y)
        for penalty in PENALTIES:
            model = make_pipeline(StandardScaler(), Ridge(penalty)).fit(flat["train"], parts.y["train"])
            score = _score(task, parts.y["validation"], model.predict(flat["validation"]))
            if best is None or score < best[0]:
                best = score, parts, penalty
    assert best is not None
    _, parts, penalty = best
    x, y = parts.both()
    found: Array = make_pipeline(StandardScaler(), Ridge(penalty)).fit(x, y).predict(parts.x["test"])
    return found
