"""Tasks on which portfolios are found: generated, or of scikit-learn, and none of benchmarks/rivals.py and studies/."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter, map_coordinates
from sklearn.datasets import (
    load_sample_images,
    load_wine,
    make_classification,
    make_friedman1,
    make_friedman2,
    make_friedman3,
    make_hastie_10_2,
    make_moons,
)

Kind = Literal["tables", "images", "sequences", "series"]
Array = Any  # of numpy, whose arithmetic has no narrower type
Rng = np.random.Generator

KINDS: dict[str, Kind] = {
    "models.dnn:DNN": "tables",
    "models.tabm:TabM": "tables",
    "models.cnn:CNN": "images",
    "models.conv1d:Conv1d": "sequences",
    "models.recurrent:Recurrent": "sequences",
    "models.linear:Linear": "series",
}


@dataclass(frozen=True)
class Task:
    """Data, and what a model of it is judged by."""

    data: Callable[[Path], dict[str, Any]]  # writes a file to the folder, and returns the data of a study
    metric: str = "val_accuracy"
    direction: Literal["maximize", "minimize"] = "maximize"


def _table(made: tuple[Any, Any], metric: str = "val_accuracy") -> Task:
    def write(folder: Path) -> dict[str, Any]:
        frame = pd.DataFrame(np.asarray(made[0])).add_prefix("x")
        frame["target"] = made[1]
        frame.to_csv(folder / "table.csv", index=False)
        return {"class": "models.data:Table", "source": str(folder / "table.csv"), "target": "target"}

    return Task(write, metric)


def _classes(**keys: Any) -> Task:
    x, y = make_classification(**keys)
    return _table((x, [f"c{label}" for label in y]))


def _arrays(name: str, key: str, make: Callable[[Rng, int], Array], *, seed: int, classes: int, count: int) -> Task:
    """`count` samples, each made of its class."""

    def write(folder: Path) -> dict[str, Any]:
        rng = np.random.default_rng(seed)
        y = rng.integers(0, classes, count)
        x = np.stack([make(rng, int(label)) for label in y]).astype(np.float32)
        np.savez(folder / "samples.npz", x=x, y=y)
        return {"class": name, key: str(folder / "samples.npz")}

    return Task(write)


def _image(make: Callable[[Rng, int], Array], *, seed: int, classes: int = 4) -> Task:
    return _arrays("models.data:Images", "source", make, seed=seed, classes=classes, count=500)


def _sequence(make: Callable[[Rng, int], Array], *, seed: int) -> Task:
    return _arrays("models.data:Sequences", "path", make, seed=seed, classes=3, count=360)


def _series(make: Callable[[Rng, Array], Array], *, seed: int, rows: int, period: int) -> Task:
    def write(folder: Path) -> dict[str, Any]:
        time = np.arange(rows)
        values = make(np.random.default_rng(seed), time)
        pd.DataFrame({"step": time, "value": values}).to_csv(folder / "series.csv", index=False)
        return {"class": "models.data:Series", "path": str(folder / "series.csv"), "period": period}

    return Task(write, "val_rmse", "minimize")


# Images (20, 20)

SIDE = 20
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]


def _shape(rng: Rng, label: int) -> Array:
    """A disc, a square, a cross or a ring, of any place and size."""
    size, (row, column) = rng.uniform(3, 6), rng.uniform(6, SIDE - 6, 2)
    down, right = abs(ROWS - row), abs(COLUMNS - column)
    far = np.hypot(down, right)
    square = np.maximum(down, right) < size * 0.9
    drawn = (far < size, square, square & (np.minimum(down, right) < 1.2), (far < size) & (far > size - 1.7))[label]
    return drawn * rng.uniform(0.5, 1.0) + rng.normal(0, 0.35, (SIDE, SIDE))


def _grating(rng: Rng, label: int) -> Array:
    """Stripes in one of four directions."""
    angle, wave = label * np.pi / 4 + rng.normal(0, 0.22), rng.uniform(2.5, 7)
    along = ROWS * np.sin(angle) + COLUMNS * np.cos(angle)
    return np.sin(2 * np.pi * along / wave + rng.uniform(0, 6.3)) + rng.normal(0, 1.4, (SIDE, SIDE))


def _spots(rng: Rng, label: int) -> Array:
    """Three to six spots."""
    image = np.zeros((SIDE, SIDE))
    for row, column in rng.uniform(2, SIDE - 2, (label + 3, 2)):
        image += np.exp(-((ROWS - row) ** 2 + (COLUMNS - column) ** 2) / 2.5)
    return image + rng.normal(0, 0.1, image.shape)


def _glyph(rng: Rng, label: int) -> Array:
    """One of eight smooth patterns, shifted and bent."""
    pattern = gaussian_filter(np.random.default_rng(100 + label).normal(size=(SIDE, SIDE)), 2.5)
    bend = gaussian_filter(rng.normal(size=(2, SIDE, SIDE)), (0, 4, 4)) * 40 + rng.uniform(-3, 3, (2, 1, 1))
    bent = map_coordinates(pattern, [ROWS + bend[0], COLUMNS + bend[1]], order=1, mode="reflect")
    return bent / bent.std() + rng.normal(0, 1.0, bent.shape)


def _texture(rng: Rng, label: int) -> Array:
    """Smoothed noise, of four kinds."""
    drawn = gaussian_filter(rng.normal(size=(SIDE, SIDE)), ((0.7, 0.7), (1.0, 0.5), (0.5, 1.0), (1.1, 1.1))[label])
    return drawn / drawn.std() + rng.normal(0, 0.7, drawn.shape)


def _photograph(rng: Rng, label: int) -> Array:
    """A part of the upper or lower half of a photograph of scikit-learn, of even brightness."""
    photograph = load_sample_images().images[label // 2].mean(2)  # (427, 640)
    row = rng.integers(0, 213 - 2 * SIDE) + 213 * (label % 2)
    column = rng.integers(0, 640 - 2 * SIDE)
    part = photograph[row : row + 2 * SIDE : 2, column : column + 2 * SIDE : 2]
    return (part - part.mean()) / (part.std() + 1) + rng.normal(0, 0.3, part.shape)


# Sequences (60, 2)

STEPS = 60
TIME = np.arange(STEPS) / STEPS


def _noisy(rng: Rng, x: Array, noise: float = 0.6) -> Array:
    return x + rng.normal(0, noise, x.shape)


def _bump(place: float) -> Array:
    bump: Array = np.exp(-(((TIME - place) / 0.04) ** 2))
    return bump


def _frequency(rng: Rng, label: int) -> Array:
    return _noisy(rng, np.sin(2 * np.pi * (3 + 0.7 * label) * TIME[:, None] + rng.uniform(0, 2 * np.pi, 2)))


def _place(rng: Rng, label: int) -> Array:
    bump = np.exp(-(((TIME - 0.25 - 0.2 * label - rng.normal(0, 0.07)) / 0.08) ** 2))
    return _noisy(rng, np.stack([bump, np.zeros(STEPS)], 1))


def _process(rng: Rng, label: int) -> Array:
    x = np.zeros((STEPS, 2))
    for step in range(1, STEPS):
        x[step] = (0.5 + 0.2 * label) * x[step - 1] + rng.normal(0, 0.5, 2)
    return _noisy(rng, x)


def _order(rng: Rng, label: int) -> Array:
    """Which of two features has a bump first, or that one has both."""
    first, second = rng.uniform(0.1, 0.4), rng.uniform(0.6, 0.9)
    x = np.zeros((STEPS, 2))
    x[:, 1 if label == 1 else 0] += _bump(first)
    x[:, 1 if label == 0 else 0] += _bump(second)
    return _noisy(rng, 2.5 * x)


def _chirp(rng: Rng, label: int) -> Array:
    """A frequency that falls, stays or rises."""
    cycles = rng.uniform(3, 7) * (TIME + (label - 1) * 0.4 * (TIME**2 - TIME))
    return _noisy(rng, np.sin(2 * np.pi * cycles[:, None] + rng.uniform(0, 2 * np.pi, 2)), 0.8)


def _count(rng: Rng, label: int) -> Array:
    """Two to four bumps among two features."""
    x = np.zeros((STEPS, 2))
    for place in rng.uniform(0.05, 0.95, label + 2):
        x[:, rng.integers(0, 2)] += 3 * _bump(place)
    return _noisy(rng, x, 0.3)


# Series


def _process_of(rng: Rng, steps: int, *weights: float, noise: float = 1.0) -> Array:
    """An autoregressive process (steps,)."""
    x = np.zeros(steps)
    for step in range(len(weights), steps):
        x[step] = sum(weight * x[step - lag] for lag, weight in enumerate(weights, 1)) + rng.normal(0, noise)
    return x


def _monthly(rng: Rng, time: Array) -> Array:
    season = 1 + 0.2 * np.sin(2 * np.pi * time / 12) + 0.1 * np.cos(4 * np.pi * time / 12)
    return (100 + 0.4 * time) * season + 3 * _process_of(rng, len(time), 0.7)


def _daily(rng: Rng, time: Array) -> Array:
    week = rng.normal(0, 3, 7)
    return 50 + week[time % 7] + 2 * _process_of(rng, len(time), 0.5, 0.2)


def _hourly(rng: Rng, time: Array) -> Array:
    strength = 5 + _process_of(rng, len(time), 0.98, noise=0.3)
    return strength * np.sin(2 * np.pi * time / 24) + 2 * np.sin(2 * np.pi * time / 168) + rng.normal(0, 1, len(time))


def _walk(rng: Rng, time: Array) -> Array:
    return np.cumsum(rng.normal(0.05, 1, len(time))) + 4 * np.sin(2 * np.pi * time / 12)


def _stationary(rng: Rng, time: Array) -> Array:
    return _process_of(rng, len(time), 1.3, -0.7, 0.2)


def _chaotic(rng: Rng, time: Array) -> Array:
    """Mackey and Glass 1977, Science 197: a delay equation, here with a delay of 17 steps."""
    x = np.full(len(time) + 117, 1.2)
    for step in range(17, len(x) - 1):
        x[step + 1] = x[step] + 0.2 * x[step - 17] / (1 + x[step - 17] ** 10) - 0.1 * x[step]
    return x[117:] + rng.normal(0, 0.03, len(time))


TASKS: dict[Kind, dict[str, Task]] = {
    "tables": {
        "wine": _table(load_wine(return_X_y=True)),
        "easy classes": _classes(n_samples=600, n_features=20, n_informative=8, n_classes=3, random_state=1),
        "noisy classes": _classes(n_samples=900, n_features=30, n_informative=6, flip_y=0.15, random_state=2),
        "clusters": _classes(n_samples=800, n_features=12, n_informative=8, n_classes=4, class_sep=0.8, random_state=3),
        "sphere": _table(make_hastie_10_2(n_samples=1000, random_state=4)),
        "moons": _table(make_moons(n_samples=500, noise=0.25, random_state=5)),
        "friedman 1": _table(make_friedman1(n_samples=600, noise=1.0, random_state=6), "val_r2"),
        "friedman 2": _table(make_friedman2(n_samples=600, noise=60.0, random_state=7), "val_r2"),
        "friedman 3": _table(make_friedman3(n_samples=600, noise=0.1, random_state=8), "val_r2"),
    },
    "images": {
        "shapes": _image(_shape, seed=1),
        "gratings": _image(_grating, seed=2),
        "spots": _image(_spots, seed=3),
        "glyphs": _image(_glyph, seed=4, classes=8),
        "textures": _image(_texture, seed=5),
        "photographs": _image(_photograph, seed=6),
    },
    "sequences": {
        "frequencies": _sequence(_frequency, seed=1),
        "places": _sequence(_place, seed=2),
        "processes": _sequence(_process, seed=3),
        "orders": _sequence(_order, seed=4),
        "chirps": _sequence(_chirp, seed=5),
        "counts": _sequence(_count, seed=6),
    },
    "series": {
        f"{name}, {rows}": _series(make, seed=seed, rows=rows, period=period)
        for seed, (name, make, period) in enumerate(
            (
                ("monthly", _monthly, 12),
                ("daily", _daily, 7),
                ("hourly", _hourly, 24),
                ("walk", _walk, 12),
                ("stationary", _stationary, 0),
                ("chaotic", _chaotic, 0),
            )
        )
        for rows in (300, 900)
    },
}

# Of whole searches, to compare with; none had a part in finding a portfolio.
COMPARED: dict[Kind, dict[str, tuple[dict[str, Any], str]]] = {
    "tables": {
        name: ({"class": "models.data:Table", "source": name}, metric)
        for name, metric in (("breast_cancer", "val_accuracy"), ("iris", "val_accuracy"), ("diabetes", "val_r2"))
    },
    "images": {"digits": ({"class": "models.data:Digits"}, "val_accuracy")},
    "sequences": {
        "japanese_vowels": (
            {"class": "models.data:Sequences", "path": "studies/data/japanese_vowels.npz"},
            "val_accuracy",
        )
    },
    "series": {},
}
