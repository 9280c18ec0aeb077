"""Sequences and series for the tests, written to files: small, and with something to learn."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

SAMPLES, TIME, FEATURES = 80, 8, 3


def recorded(seed: int = 0) -> dict[str, Any]:
    """Waves (SAMPLES, TIME, FEATURES) of two frequencies, of different lengths, with noise, and which it is."""
    generator = np.random.default_rng(seed)
    label = np.arange(SAMPLES) % 2
    length = generator.integers(3, TIME + 1, SAMPLES)
    phase = generator.uniform(0, 6, (SAMPLES, 1, FEATURES))
    x = np.sin((label + 1)[:, None, None] * np.arange(TIME)[:, None] + phase) + generator.normal(
        0, 0.1, (SAMPLES, TIME, 1)
    )
    return {"x": x.astype(np.float32), "y": label, "length": length}


@functools.cache
def recorded_npz(kind: str) -> str:
    """The path of an .npz whose labels are of this kind: a class, values, or of each step a class or a value."""
    arrays = recorded()
    generator = np.random.default_rng(1)
    labels = {
        "class": arrays["y"],
        "values": np.stack([arrays["x"][:, 0, 0], generator.normal(40, 9, SAMPLES)], axis=1),
        "step class": (arrays["x"][:, :, 0] > 0).astype(int) + arrays["y"][:, None],
        "step value": 5 * arrays["x"][:, :, 1] + 100,
    }
    path = _scratch() / f"{kind.replace(' ', '_')}.npz"
    np.savez(path, x=arrays["x"], length=arrays["length"], y=labels[kind])
    return str(path)


@functools.cache
def measured_csv() -> str:
    """The path of a .csv with two series by the hour, which depend on each other, with gaps at every border."""
    steps = np.arange(300)
    generator = np.random.default_rng(0)
    load = 10 * np.sin(steps * 2 * np.pi / 24) + generator.normal(0, 1, len(steps)).cumsum()
    values = np.stack([load, np.roll(load, 3) + generator.normal(0, 1, len(steps))], axis=1)
    for first, last in ((50, 53), (208, 211), (253, 256)):
        values[first:last, 0] = np.nan
    times = np.datetime64("2020-01-01T00") + steps
    rows = [f"{time},{'' if np.isnan(a) else a},{b}" for time, (a, b) in zip(times, values, strict=True)]
    path = _scratch() / "hourly.csv"
    path.write_text("\n".join(["time,load,wind", *rows]))
    return str(path)


@functools.cache
def panel_csv() -> str:
    """The path of a .csv with the series of measured_csv at three sites, of different lengths, row by row in turn."""
    header, *lines = Path(measured_csv()).read_text().splitlines()
    rows = []
    for number, length in enumerate((300, 240, 280)):
        for line in lines[:length]:
            time, load, wind = line.split(",")
            rows.append(f"{time},site {number},{load},{float(wind) * (number + 1) + number}")
    path = _scratch() / "sites.csv"
    path.write_text("\n".join([header.replace("time,", "time,site,"), *sorted(rows)]))
    return str(path)


@functools.cache
def _scratch() -> Path:
    """For lists of parameters, which are made before there are fixtures."""
    folder = Path(tempfile.mkdtemp(prefix="hpo-recorded-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
