"""Simple models of scikit-learn as networks, so that they are exported, compared and used like one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from hpo.errors import HpoError, nearest
from hpo.training.evaluation.baselines import fitted_models
from hpo.training.evaluation.fitted import Fitted
from hpo.training.evaluation.outputs import Outputs

COMPARED = 512  # samples, with the original
MOST_NEIGHBOURS_BYTES = 256 << 20


def simple_model(name: str, fitted: Fitted, outputs: Outputs) -> SimpleModel:
    """The simple model of this name, fitted on the training part, as a network of the same inputs.

    Args:
        outputs: of the study's model for the validation part, which tell the task.

    Raises:
        HpoError: there is no such model of this kind of data, or it cannot be a network.
    """
    known = {found.name: found for found in fitted_models(fitted, outputs)}
    if name not in known:
        raise HpoError(
            f"--baseline '{name}' is not a simple model that can be exported{nearest(name, known) or '.'} For these "
            f"data there {'is' if len(known) == 1 else 'are'} {', '.join(known) or 'none'}"
        )
    if outputs.layout.is_per_step:
        raise HpoError("a simple model of steps has no network of sequences: use it with scikit-learn")
    found = known[name]
    inputs = 2 if outputs.layout.categories is not None else 1
    names = len(outputs.names) if outputs.task == "classes" else 0
    data = fitted.data
    scale = [np.asarray(getattr(data, each, ()), np.float64) for each in ("target_mean", "target_scale")]
    model = SimpleModel(_network(found.model), inputs=inputs, classes=names, unit=scale).eval()
    check_same(model, found.model, outputs.layout.predictors(fitted.samples())[0][:COMPARED])
    return model


def check_same(model: SimpleModel, original: Any, x: Any) -> None:
    """Compare the network with the model of scikit-learn that it was made of, on numbers (samples, columns).

    Raises:
        HpoError: the network does not give what the original gives, as of a release of scikit-learn that stores its
            models in another way.
    """
    x = np.asarray(x, np.float64)
    with torch.no_grad():
        found = model.core(torch.from_numpy(x)).numpy()
    expected = original.predict_proba(x) if hasattr(original, "predict_proba") else original.predict(x)
    if hasattr(original, "classes_"):
        found = found[:, np.asarray(original.classes_, np.int64)]
    if not np.allclose(found, np.reshape(expected, found.shape), rtol=1e-6, atol=1e-6):
        raise HpoError(f"{type(original).__name__} of this release of scikit-learn cannot be written as a network")


class SimpleModel(LightningModule):
    """Inputs as the network's -> probabilities (batch, classes), or values (batch, outputs) in the data's unit.

    Args:
        core: numbers (batch, columns), in double precision -> probabilities of the classes it has seen, or values.
        inputs: how many of a batch's input tensors it takes.
        unit: mean and scale of the values.
    """

    def __init__(self, core: nn.Module, *, inputs: int, classes: int, unit: Sequence[Any]) -> None:
        super().__init__()
        self.core = core
        self._inputs = inputs
        self._classes = classes
        mean, scale = unit
        self.register_buffer("mean", torch.as_tensor(mean if len(mean) else [0.0], dtype=torch.float64))
        self.register_buffer("scale", torch.as_tensor(scale if len(scale) else [1.0], dtype=torch.float64))
        self.mean: Tensor
        self.scale: Tensor

    def forward(self, given: Any) -> Tensor:
        parts = (given,) if isinstance(given, Tensor) else tuple(given)[: self._inputs]
        found: Tensor = self.core(torch.cat([part.flatten(1).double() for part in parts], 1))
        return (found if self._classes else found * self.scale + self.mean).float()

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        found: Tensor = self(batch if isinstance(batch, Tensor) else batch[0])
        return found


class _Constant(nn.Module):
    def __init__(self, values: Any) -> None:
        super().__init__()
        self.register_buffer("values", torch.as_tensor(np.atleast_1d(values), dtype=torch.float64))
        self.values: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return self.values.expand(len(x), -1) + 0 * x[:, :1]


class _Scaled(nn.Module):
    """Of a pipeline: gaps are filled, columns are standardised, and the last model follows."""

    def __init__(self, fill: Any, scaler: Any, last: nn.Module) -> None:
        super().__init__()
        for name, values in (("fill", fill), ("centre", scaler.mean_), ("spread", scaler.scale_)):
            self.register_buffer(name, torch.as_tensor(np.asarray(values), dtype=torch.float64))
        self.fill: Tensor
        self.centre: Tensor
        self.spread: Tensor
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        filled = torch.where(x.isnan(), self.fill, x)
        found: Tensor = self.last((filled - self.centre) / self.spread)
        return found


class _Linear(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.is_classifier = hasattr(model, "classes_")
        self.register_buffer("weights", torch.as_tensor(np.atleast_2d(model.coef_).T.copy(), dtype=torch.float64))
        self.register_buffer("bias", torch.as_tensor(np.atleast_1d(model.intercept_), dtype=torch.float64))
        self.weights: Tensor
        self.bias: Tensor

    def forward(self, x: Tensor) -> Tensor:
        found = x @ self.weights + self.bias
        return _likely(found) if self.is_classifier else found


class _Neighbour(nn.Module):
    def __init__(self, model: Any, answers: Any) -> None:
        super().__init__()
        samples = np.asarray(model._fit_X)
        if samples.nbytes > MOST_NEIGHBOURS_BYTES:
            raise HpoError(f"a nearest neighbour of {len(samples):,} samples is too large to be exported")
        self.register_buffer("samples", torch.as_tensor(samples, dtype=torch.float64))
        self.register_buffer("answers", torch.as_tensor(answers, dtype=torch.float64))
        self.samples: Tensor
        self.answers: Tensor

    def forward(self, x: Tensor) -> Tensor:
        # |a - b|^2 without |a|^2, which is the same for all b.
        distances = self.samples.square().sum(1) - 2 * x @ self.samples.T
        return self.answers[distances.argmin(1)]


class _Trees(nn.Module):
    """Gradient boosting: each tree is walked from its root to a leaf, all trees of all samples at once.

    Nodes of all trees lie in one array; a leaf leads to itself.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.is_classifier = hasattr(model, "classes_")
        trees = [tree.nodes for group in model._predictors for tree in group]
        starts = np.cumsum([0, *(len(nodes) for nodes in trees[:-1])])
        nodes = np.concatenate(trees)
        own = np.concatenate([np.full(len(one), start) for one, start in zip(trees, starts, strict=True)])
        is_leaf = nodes["is_leaf"].astype(bool)
        here = np.arange(len(nodes))
        self.depth = int(nodes["depth"].max())
        self.outputs = len(model._predictors[0])
        arrays = {
            "roots": starts,
            "column": np.where(is_leaf, 0, nodes["feature_idx"]).astype(np.int64),
            "threshold": nodes["num_threshold"].astype(np.float64),
            "left": np.where(is_leaf, here, nodes["left"].astype(np.int64) + own),
            "right": np.where(is_leaf, here, nodes["right"].astype(np.int64) + own),
            "missing_left": nodes["missing_go_to_left"].astype(bool),
            "value": nodes["value"].astype(np.float64),
            "first": np.asarray(model._baseline_prediction, np.float64).reshape(1, -1),
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.as_tensor(array))
        self.roots: Tensor
        self.column: Tensor
        self.threshold: Tensor
        self.left: Tensor
        self.right: Tensor
        self.missing_left: Tensor
        self.value: Tensor
        self.first: Tensor

    def forward(self, x: Tensor) -> Tensor:
        at = self.roots.expand(len(x), -1)
        for _ in range(self.depth):
            seen = x.gather(1, self.column[at])
            goes_left = (seen <= self.threshold[at]) | (seen.isnan() & self.missing_left[at])
            at = torch.where(goes_left, self.left[at], self.right[at])
        found = self.first + self.value[at].reshape(len(x), -1, self.outputs).sum(1)
        return _likely(found) if self.is_classifier else found


class _Beside(nn.Module):
    """One model for each output."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([model(x) for model in self.models], 1)


class _Classes(nn.Module):
    """Probabilities of all classes from those of the classes that were seen in the training."""

    def __init__(self, model: nn.Module, seen: Any) -> None:
        super().__init__()
        self.model = model
        places = torch.zeros(len(seen), int(max(seen)) + 1, dtype=torch.float64)
        places[torch.arange(len(seen)), torch.as_tensor(np.asarray(seen, np.int64))] = 1.0
        self.register_buffer("places", places)
        self.places: Tensor

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.model(x) @ self.places
        return found


def _network(model: Any) -> nn.Module:
    """A fitted model of scikit-learn, or a pipeline that fills gaps and standardises before it."""
    steps = [step for _, step in getattr(model, "steps", [("", model)])]
    last = steps[-1]
    kind = type(last).__name__
    if kind.startswith("Dummy"):
        core: nn.Module = _Constant(last.class_prior_ if hasattr(last, "class_prior_") else last.constant_.ravel())
    elif kind.startswith("HistGradientBoosting"):
        core = _Trees(last)
    elif kind == "MultiOutputRegressor":
        core = _Beside([_Trees(each) for each in last.estimators_])
    elif kind.startswith("KNeighbors"):
        answers = (
            np.eye(len(last.classes_))[last._y] if hasattr(last, "classes_") else last._y.reshape(len(last._y), -1)
        )
        core = _Neighbour(last, answers)
    else:
        core = _Linear(last)
    if hasattr(last, "classes_"):
        core = _Classes(core, last.classes_)
    if len(steps) == 1:
        return core
    columns = len(steps[-2].mean_)
    imputers = [step for step in steps if hasattr(step, "statistics_")]
    return _Scaled(imputers[0].statistics_ if imputers else np.zeros(columns), steps[-2], core)


def _likely(scores: Tensor) -> Tensor:
    """Probabilities (batch, classes), of two classes from the score of the second."""
    if scores.shape[1] > 1:
        return scores.softmax(1)
    second = scores.sigmoid()
    return torch.cat([1 - second, second], 1)
