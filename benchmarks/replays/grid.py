"""A recorded grid: the curve of a trial, and how good the configuration is that a search would choose."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.errors import SpecError
from hpo.search.grid import grid_points
from hpo.space import SearchSpace
from replays.clock import Curve
from replays.grids import EPOCHS, RECIPES, SEEDS

FOLDER = Path(__file__).parent
UNIT = 10_000  # accuracies are stored as whole numbers of this fraction
LAST = 3  # epochs whose mean is a training's final accuracy


class Grid:
    """A grid of `replays.grids`.

    Attributes:
        training_seconds: of a complete training, the mean over the grid.
        best: the largest `truth`.

    Raises:
        SpecError: it was recorded with another space, or not at all.
    """

    epochs = EPOCHS

    def __init__(self, name: str, folder: Path = FOLDER) -> None:
        self.name, self.space = name, RECIPES[name].space
        again = f"record it: python benchmarks/search_quality.py record {name}"
        try:
            with np.load(folder / f"{name}.npz") as file:
                stored = {key: file[key] for key in file.files}
        except FileNotFoundError as error:
            raise SpecError(f"{folder / name}.npz is missing; {again}") from error
        if json.loads(str(stored["space"])) != self.space.to_json():
            raise SpecError(f"{folder / name}.npz has another space than replays/grids.py; {again}")
        # (points, seeds, epochs, validation and test)
        self._accuracy = np.cumsum(stored["accuracy"], axis=2, dtype=np.uint16) / UNIT
        self._seconds: NDArray[np.float32] = stored["seconds"]
        self._parameters: NDArray[np.int32] = stored["parameters"]
        self._rows = {self._key(point): row for row, point in enumerate(grid_points(self.space))}
        self._truths = self._accuracy[:, :, -LAST:, 0].mean((1, 2))
        self.best = float(self._truths.max())
        self.training_seconds = float(self._seconds.mean()) * EPOCHS

    def __len__(self) -> int:
        return len(self._rows)

    def curve(self, seed: int) -> Curve:
        """What trials see: successive ones meet the recorded seeds in turn.

        Args:
            seed: of the search.
        """

        def seen(params: dict[str, Any], trial: int) -> tuple[list[float], float]:
            row = self._row(params)
            return self._accuracy[row, self._recorded(trial, seed), :, 0].tolist(), float(self._seconds[row])

        return seen

    def two_objectives(self, seed: int) -> Callable[[dict[str, Any], int], tuple[list[tuple[float, float]], float]]:
        """The curve with the number of weights, which is known from the first epoch on, as a second objective."""
        curve = self.curve(seed)

        def seen(params: dict[str, Any], trial: int) -> tuple[list[tuple[float, float]], float]:
            values, seconds = curve(params, trial)
            return [(value, float(self.parameters(params))) for value in values], seconds

        return seen

    def truth(self, params: Mapping[str, Any]) -> float:
        """The final validation accuracy of a configuration, over all its recorded seeds."""
        return float(self._truths[self._row(params)])

    def tested(self, params: Mapping[str, Any], epoch: int, *, trial: int, seed: int) -> float:
        """The test accuracy of a trial's model after an epoch.

        Args:
            seed: of the search.
        """
        return float(self._accuracy[self._row(params), self._recorded(trial, seed), epoch - 1, 1])

    def parameters(self, params: Mapping[str, Any]) -> int:
        """The number of the model's weights."""
        return int(self._parameters[self._row(params)])

    def median_parameters(self) -> float:
        return float(np.median(self._parameters))

    def objectives_of(self, params: Mapping[str, Any], epoch: int) -> tuple[float, float]:
        """The validation accuracy of a model above the grid's median, and how much smaller it is than the largest one.

        The latter on a logarithmic scale; both are to be large.
        """
        row = self._row(params)
        return self._objectives(row, float(self._accuracy[row, :, epoch - 1, 0].mean()))

    def objectives(self) -> list[tuple[float, float]]:
        """Those of each configuration after its best epoch."""
        best = self._accuracy[:, :, :, 0].mean(1).max(1)
        return [self._objectives(row, float(best[row])) for row in range(len(self))]

    def _objectives(self, row: int, accuracy: float) -> tuple[float, float]:
        smaller = float(np.log(self._parameters.max() / self._parameters[row]))
        return accuracy - float(np.median(self._truths)), smaller

    def random_regret(self, trainings: int, *, repetitions: int = 2000) -> float:
        """The median regret of random search after so many complete trainings."""
        random = np.random.default_rng(0)
        rows = random.integers(len(self), size=(repetitions, trainings))
        seeds = random.integers(self._accuracy.shape[1], size=rows.shape)
        seen = self._accuracy[:, :, :, 0].max(2)[rows, seeds]
        chosen = rows[np.arange(repetitions), seen.argmax(1)]
        return self.best - float(np.median(self._truths[chosen]))

    def _recorded(self, trial: int, seed: int) -> int:
        """The place of the recorded seed that a trial meets."""
        return (trial + seed) % len(SEEDS)

    def _row(self, params: Mapping[str, Any]) -> int:
        return self._rows[self._key(params)]

    def _key(self, params: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(params.get(name) for name in self.space)


@lru_cache
def grid_of(name: str) -> Grid:
    """The grid, read once a process."""
    return Grid(name)


def save(path: Path, space: SearchSpace, recorded: Mapping[str, NDArray[Any]]) -> None:
    """Write what `replays.recording.record` returns, in less than 0.2 MB a grid."""
    accuracy = np.round(recorded["accuracy"] * UNIT).astype(np.uint16)
    # Differences from epoch to epoch take less room than accuracies do; negative ones wrap around.
    accuracy[:, :, 1:] -= accuracy[:, :, :-1].copy()
    np.savez_compressed(
        path,
        accuracy=accuracy,
        seconds=recorded["seconds"].astype(np.float32),
        parameters=recorded["parameters"].astype(np.int32),
        space=np.array(json.dumps(space.to_json())),
    )
