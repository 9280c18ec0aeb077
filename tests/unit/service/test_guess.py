"""What `hpo auto` takes a file or a folder for, and what it says of those that it cannot use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hpo.errors import SpecError
from hpo.service.guess import Guess, guess


def looked(source: Path, **options: Any) -> Guess:
    return guess(source, **{"target": None, "kind": None, "horizon": None, "period": None, **options})


def csv(folder: Path, **columns: Any) -> Path:
    pd.DataFrame(columns).to_csv(folder / "data.csv", index=False)
    return folder / "data.csv"


def npz(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


@pytest.mark.parametrize(
    ("values", "objective"),
    [
        (["a", "b"] * 20, "val_accuracy"),
        ([0, 1, 2, 3] * 10, "val_accuracy"),
        ([True, False] * 20, "val_accuracy"),
        (list(range(40)), "val_rmse"),
        ([0.5 * n for n in range(40)], "val_rmse"),
    ],
    ids=["texts", "few whole numbers", "flags", "many whole numbers", "numbers"],
)
def test_a_table_has_classes_or_numbers_to_predict(values: list[Any], objective: str, tmp_path: Path) -> None:
    found = looked(csv(tmp_path, x=range(40), y=values), target="y")

    assert (found.kind, found.objective) == ("table", objective)
    assert found.data == {"class": "models.data:Table", "source": str(tmp_path / "data.csv"), "target": "y"}
    assert "a table of 40 rows and 2 columns" in found.saw[0]
    assert found.samples == 40


@pytest.mark.parametrize(
    ("frequency", "season"), [("h", 24), ("D", 7), ("W", 52), ("MS", 12), ("QS", 4), ("YS", 0), ("3min", 0)]
)
def test_ascending_dates_beside_numbers_are_a_series_with_its_season(
    frequency: str, season: int, tmp_path: Path
) -> None:
    times = pd.date_range("2020-01-01", periods=60, freq=frequency)
    found = looked(csv(tmp_path, when=times, load=np.arange(60.0)))

    assert found.kind == "series"
    assert found.data.get("period", 0) == season
    assert found.data["target"] == "load"


def test_what_is_said_of_a_series_counts(tmp_path: Path) -> None:
    values = np.where(np.arange(60) % 9 == 4, np.nan, np.arange(60.0))
    file = csv(tmp_path, when=range(60), load=values, wind=range(60))

    found = looked(file, target="load", horizon=3, period=6)

    assert found.data | {"path": ""} == {
        "class": "models.data:Series", "path": "", "target": "load", "horizon": 3, "period": 6,
        "interpolation": "linear",
    }  # fmt: skip
    assert looked(file, target="load").kind == "table"  # numbers may count rows
    assert looked(file, target="load", kind="series").kind == "series"


@pytest.mark.parametrize(
    ("arrays", "kind"),
    [
        ({"x": np.zeros((9, 8, 8)), "y": np.zeros(9, int)}, "images"),
        ({"x": np.zeros((9, 3, 30, 20)), "y": np.zeros(9, int)}, "images"),
        ({"x": np.zeros((9, 30, 20), np.uint8), "y": np.zeros(9, int)}, "images"),
        ({"x_train": np.zeros((9, 28, 28)), "y_train": np.zeros(9, int)}, "images"),
        ({"x": np.zeros((9, 30, 2)), "y": np.zeros(9, int)}, "sequences"),
        ({"x": np.zeros((9, 8, 8)), "y": np.zeros(9, int), "length": np.ones(9, int)}, "sequences"),
        ({"x": np.zeros((9, 30, 2)), "y": np.zeros((9, 30), int)}, "sequences"),
    ],
    ids=str,
)
def test_arrays_are_images_or_sequences(arrays: dict[str, Any], kind: str, tmp_path: Path) -> None:
    found = looked(npz(tmp_path, **arrays))

    assert found.kind == kind
    assert (found.data.get("labels") == "step") == (np.ndim(arrays.get("y", 0)) == 2)


def test_steps_of_sequences_are_known_by_their_columns(tmp_path: Path) -> None:
    file = csv(tmp_path, id=np.repeat(range(9), 5), time=list(range(5)) * 9, x=0.0, label=np.repeat(range(9), 5) % 2)

    assert looked(file).data == {"class": "models.data:Sequences", "path": str(file)}
    assert looked(file, target="label").kind == "sequences"
    assert looked(file, target="label", kind="table").kind == "table"


def test_a_folder_is_taken_for_images(tmp_path: Path) -> None:
    assert looked(tmp_path).kind == "images"


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("none.csv", None, {}, "none.csv: there is no such file or folder"),
        ("data.csv", "a,b\n1,2\n2,3\n", {}, "which column is to predict? Name it with --target: it has a, b"),
        ("data.csv", "a,b\n1,2\n2,3\n", {"target": "c"}, "there is no column 'c'. It has a, b"),
        ("data.csv", "size,price\n1,2\n2,3\n", {"target": "prise"}, "no column 'prise', did you mean 'price'?"),
        ("data.csv", "a,b\n1,2\n2,2\n", {"target": "b"}, "column 'b' has only one value: there is nothing to learn"),
        ("data.csv", "", {"target": "b"}, "cannot be read as a table with names in its first row"),
        ("data.csv", "a,b\n", {"target": "b"}, "has 0 rows: there is nothing to learn from"),
        ("data.docx", "a", {}, "should be a file that ends in .csv, .tsv, .txt, .parquet, .pq, .npz, or a folder"),
        ("data.npz", "a", {}, "cannot be read as an .npz file of arrays"),
        ("data.csv", "a,b\n1,2\n2,3\n", {"kind": "tabel"}, "--kind tabel: should be table, images, sequences, series"),
        (
            "data.csv",
            "a,b\n1,2\n2,3\n",
            {"kind": "sequences"},
            "sequences have the columns id, time, label; missing: id",
        ),
    ],
)
def test_what_cannot_be_learned_from_is_told(
    name: str, content: str | None, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)

    with pytest.raises(SpecError) as caught:
        looked(tmp_path / name, **options)

    assert message in str(caught.value)


def test_arrays_without_targets_or_of_another_shape_are_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"holds x \(9, 4\): it should hold x and y, or x_train and y_train"):
        looked(npz(tmp_path, x=np.zeros((9, 4))))
    with pytest.raises(SpecError, match=r"holds x \(9, 4\) and y \(9,\): images have the shape"):
        looked(npz(tmp_path, x=np.zeros((9, 4)), y=np.zeros(9)))
    with pytest.raises(SpecError, match="--target, --horizon and --period are for tables and series of text files"):
        looked(npz(tmp_path, x=np.zeros((9, 4)), y=np.zeros(9)), target="y")
