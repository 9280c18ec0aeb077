"""Trains the points of a grid with the project's models and data modules, one after another on one core.

The loop is plain: forward, backward, clipping, step; an epoch of Lightning's would take longer than those of models as
small as these. `python benchmarks/search_quality.py record mlp` takes some minutes.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hpo.loading import load_class
from hpo.search.grid import grid_points
from hpo.space import arguments_of
from replays.grids import EPOCHS, SEEDS, Recipe

PROJECT = Path(__file__).resolve().parents[2]
BATCH_SIZE = 64
FROM_DATA = ("input_shape", "in_features", "outputs", "task", "class_counts", "cardinalities")


def record(recipe: Recipe, points: Sequence[Mapping[str, Any]] | None = None) -> dict[str, NDArray[Any]]:
    """Train every point of the grid with each seed.

    Args:
        points: only these.

    Returns:
        accuracy: (points, seeds, epochs, 2), of the validation and the test part.
        seconds: (points,), the processor time of an epoch with its validation; the median.
        parameters: (points,), the numbers of the models' weights.
    """
    torch.set_num_threads(1)
    chosen = list(grid_points(recipe.space)) if points is None else points
    accuracy = np.zeros((len(chosen), len(SEEDS), EPOCHS, 2), np.float32)
    seconds = np.zeros((len(chosen), len(SEEDS), EPOCHS))
    parameters = np.zeros(len(chosen), np.int32)
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning, whose Trainer is not there
        data = dict(recipe.data)
        if recipe.source is not None:
            name = "path" if data["class"].endswith("Sequences") else "source"
            data[name] = str(recipe.source(Path(folder)))
        started = time.monotonic()
        for index, point in enumerate(chosen):
            arguments = _arguments(point)
            for seed in SEEDS:
                trained = _Training(recipe.model, data, arguments, seed=index * len(SEEDS) + seed)
                accuracy[index, seed], seconds[index, seed] = trained.curve()
            parameters[index] = trained.parameters
            if index % 20 == 19 or index + 1 == len(chosen):
                print(f"{index + 1} of {len(chosen)} points, {time.monotonic() - started:.0f} s", flush=True)
    return {"accuracy": accuracy, "seconds": np.median(seconds, axis=(1, 2)), "parameters": parameters}


def _arguments(point: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a point, with numbers in place of their exponents."""
    bases = {"log10_": 10, "log2_": 2}
    arguments = {}
    for name, value in point.items():
        prefix = next((prefix for prefix in bases if name.startswith(prefix)), None)
        arguments[name.removeprefix(prefix or "")] = value if prefix is None else bases[prefix] ** value
    return arguments


class _Training:
    def __init__(
        self, model: Mapping[str, Any], data: Mapping[str, Any], arguments: Mapping[str, Any], *, seed: int
    ) -> None:
        torch.manual_seed(seed)
        self._data, self._held_out = _prepared(tuple(sorted({"batch_size": BATCH_SIZE, **data}.items())))
        cls = load_class(model["class"], PROJECT)
        given = {name: getattr(self._data, name) for name in FROM_DATA if hasattr(self._data, name)}
        names = {argument.name for argument in arguments_of(cls)}
        fixed = {name: value for name, value in model.items() if name != "class"}
        self._model: Any = cls(**{name: given[name] for name in given if name in names}, **fixed, **arguments)
        self.parameters = sum(weight.numel() for weight in self._model.parameters())

    def curve(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """The accuracies (epochs, 2), and the processor seconds of each epoch."""
        optimizer, clip = self._model.configure_optimizers(), self._model.hparams["gradient_clip"]
        found, seconds = np.zeros((EPOCHS, 2), np.float32), np.zeros(EPOCHS)
        for epoch in range(EPOCHS):
            started = time.process_time()
            self._model.train()
            self._model.on_train_epoch_start()
            for number, batch in enumerate(self._data.train_dataloader()):
                optimizer.zero_grad()
                self._model.training_step(batch, number).backward()
                if clip:
                    nn.utils.clip_grad_norm_(self._model.parameters(), clip)
                optimizer.step()
            found[epoch, 0] = self._score("validation")
            seconds[epoch] = time.process_time() - started
            found[epoch, 1] = self._score("test")
        return found, seconds

    def _score(self, part: str) -> float:
        self._model.eval()
        right = count = 0
        with torch.inference_mode():
            for inputs, targets in self._held_out[part]:
                right += int((self._model(inputs).argmax(1) == targets).sum())
                count += len(targets)
        return right / count


@lru_cache
def _prepared(arguments: tuple[tuple[str, Any], ...]) -> tuple[Any, dict[str, list[Any]]]:
    """A data module, and the batches of what is held out, which are the same for all points."""
    given = dict(arguments)
    data = load_class(given.pop("class"), PROJECT)(**given)
    data.setup()
    return data, {"validation": list(data.val_dataloader()), "test": list(data.test_dataloader())}
