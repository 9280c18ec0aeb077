"""Tasks with their data, as a person would have them: a file, the data module that reads it, and an objective."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes

from tasks.wheels import held

Kind = Literal["table", "sequences", "series", "images"]
FASHION = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class Task:
    """
    Attributes:
        write: writes the data into a folder, and returns the file.
        objective: the validation metric of the search, whose score on the test part is compared.
        data: further arguments of the data module.
        auto: further options of `hpo auto`.
        source: the package that holds the data.
    """

    name: str
    kind: Kind
    write: Callable[[Path], Path]
    objective: str
    source: str
    data: Mapping[str, Any] = field(default_factory=dict)
    auto: tuple[str, ...] = ()

    @property
    def is_higher_better(self) -> bool:
        return self.objective == "val_accuracy"


def _table(load: Callable[[], pd.DataFrame]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        load().to_csv(folder / "table.csv", index=False)
        return folder / "table.csv"

    return write


def _segment() -> pd.DataFrame:
    inner = zipfile.ZipFile(held("river", "river/datasets/segment.csv.zip"))
    return pd.read_csv(io.BytesIO(inner.read(inner.namelist()[0])))


def _phishing() -> pd.DataFrame:
    return pd.read_csv(gzip.open(held("river", "river/datasets/phishing.csv.gz")))


def _diamonds() -> pd.DataFrame:
    return pd.read_csv(held("plotnine", "plotnine/data/diamonds.csv")).sample(10_000, random_state=0)


def _bundled(load: Callable[..., Any]) -> Callable[[], pd.DataFrame]:
    def read() -> pd.DataFrame:
        frame: pd.DataFrame = load(as_frame=True).frame
        return frame

    return read


def _series(package: str, path: str, *, date: Callable[[pd.DataFrame], Any], value: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        frame = pd.read_csv(held(package, path))
        pd.DataFrame({"time": date(frame), "value": frame[value]}).to_csv(folder / "series.csv", index=False)
        return folder / "series.csv"

    return write


def _sequences(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        parts = {part: _read_ts(f"aeon/datasets/data/{name}/{name}_{part.upper()}.ts") for part in ("train", "test")}
        x = np.concatenate([x for x, _ in parts.values()])
        y = np.concatenate([y for _, y in parts.values()])
        split = np.concatenate([np.full(len(y), part) for part, (_, y) in parts.items()])
        np.savez(folder / "sequences.npz", x=x, y=np.unique(y, return_inverse=True)[1], split=split)
        return folder / "sequences.npz"

    return write


def _read_ts(path: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Sequences (samples, time, features) of one length, and their classes, of a file of the UEA archive."""
    lines = held("aeon", path).read().decode().splitlines()
    rows = [line.split(":") for line in lines if line.strip() and line[0] not in "#@"]
    x = [[np.array(channel.split(","), np.float32) for channel in channels] for *channels, _ in rows]
    return np.array(x).transpose(0, 2, 1), np.array([row[-1] for row in rows])


def _fashion(folder: Path) -> Path:
    """10,000 images of the training file, and those of the test file."""
    arrays: dict[str, Any] = {}
    for part, name, count in (("train", "train", 10_000), ("test", "t10k", 10_000)):
        with gzip.open(FASHION / f"{name}-images-idx3-ubyte.gz") as file:
            arrays[f"x_{part}"] = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)[:count]
        with gzip.open(FASHION / f"{name}-labels-idx1-ubyte.gz") as file:
            arrays[f"y_{part}"] = np.frombuffer(file.read(), np.uint8, offset=8)[:count].astype(np.int64)
    np.savez(folder / "images.npz", **arrays)
    return folder / "images.npz"


def _month(frame: pd.DataFrame) -> Any:
    return pd.to_datetime(frame.iloc[:, 0], format="mixed")


TASKS = {
    task.name: task
    for task in (
        Task("segment", "table", _table(_segment), "val_accuracy", "river", {"target": "category"}),
        Task("phishing", "table", _table(_phishing), "val_accuracy", "river", {"target": "is_phishing"}),
        Task("breast_cancer", "table", _table(_bundled(load_breast_cancer)), "val_accuracy", "scikit-learn",
             {"target": "target"}),
        Task("diamonds", "table", _table(_diamonds), "val_rmse", "plotnine", {"target": "price"}),
        Task("diabetes", "table", _table(_bundled(load_diabetes)), "val_rmse", "scikit-learn", {"target": "target"}),
        Task("osu_leaf", "sequences", _sequences("OSULeaf"), "val_accuracy", "aeon"),
        Task("basic_motions", "sequences", _sequences("BasicMotions"), "val_accuracy", "aeon"),
        Task("italy_power", "sequences", _sequences("ItalyPowerDemand"), "val_accuracy", "aeon"),
        Task("gun_point", "sequences", _sequences("GunPoint"), "val_accuracy", "aeon"),
        Task("airline", "series", _series("river", "river/datasets/airline-passengers.csv", date=_month,
             value="passengers"), "val_rmse", "river", {"target": "value", "period": 12}, ("--period", "12")),
        Task("water_flow", "series", _series("river", "river/datasets/water-flow.csv",
             date=lambda frame: pd.to_datetime(frame["Time"], utc=True).dt.tz_localize(None),
             value="Water flow [l/s]"), "val_rmse", "river",
             {"target": "value", "period": 24, "interpolation": "linear", "every": "1h"}, ("--period", "24")),
        Task("electrical", "series", _series("statsmodels", "statsmodels/datasets/elec_equip/elec_equip.csv",
             date=_month, value="STS.M.I7.W.TOVT.NS0016.4.000"), "val_rmse", "statsmodels",
             {"target": "value", "period": 12}, ("--period", "12")),
        Task("fashion_mnist", "images", _fashion, "val_accuracy", "Debian's dataset-fashion-mnist"),
    )
}  # fmt: skip
