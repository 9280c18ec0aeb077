"""A cached table equals the table that was read: the same batches, the same warnings."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from models.data.cache import LEAST_BYTES_TO_KEEP
from models.data.table import Table

ROWS = 4000


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Numbers, dates, categories, of each some missing, rows without a target, and an infinite number."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "x": random.normal(size=ROWS),
            "whole": random.integers(0, 100, ROWS),
            "flag": random.integers(0, 2, ROWS) > 0,
            "day": pd.date_range("2026-01-01", periods=ROWS, freq="h"),
            "name": random.choice(["a", "ü", "c c"], ROWS),
            "pupil": [f"p{row // 8}" for row in range(ROWS)],
            "y": random.choice(["no", "yes"], ROWS),
        }
    )
    for column, rows in {"x": [3, 5], "day": [7], "name": [9, 11], "y": [1, 2]}.items():
        table.loc[rows, column] = None
    table.loc[13, "x"] = np.inf
    table.to_csv(tmp_path / "t.csv", index=False)
    assert (tmp_path / "t.csv").stat().st_size > LEAST_BYTES_TO_KEEP
    return tmp_path / "t.csv"


def kept_files(file: Path) -> list[Path]:
    return list((file.parent / "cache").rglob("*.arrays"))


def batches(file: Path, **arguments: Any) -> tuple[list[torch.Tensor], list[str]]:
    """Everything that is learned from and validated with, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = Table(str(file), target="y", **arguments)
        data.setup("fit")
    parts = [data.part("train"), data.part("validation")]
    flat = [tensor for part in parts for tensor in (*part.inputs, part.targets)]
    return flat, [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    "arguments", [{}, {"group": "pupil"}, {"time": "day", "missing": "indicator"}, {"ignore": "x"}]
)
def test_the_second_trial_learns_from_what_the_first_one_read(file: Path, arguments: dict[str, Any]) -> None:
    if arguments.get("time"):
        frame = pd.read_csv(file)
        frame["day"] = frame["day"].fillna("2026-01-01 07:00:00")
        frame.to_csv(file, index=False)

    first, first_warnings = batches(file, **arguments)
    [kept] = kept_files(file)
    changed_at = kept.stat().st_mtime_ns
    second, second_warnings = batches(file, **arguments)

    assert kept_files(file) == [kept]
    assert kept.stat().st_mtime_ns == changed_at
    assert second_warnings == first_warnings
    assert any("2 of 4000 rows have no target" in text for text in first_warnings)
    assert len(first) == len(second)
    for tensor, again in zip(first, second, strict=True):
        assert torch.equal(tensor, again)


def test_cached_data_equals_data_read_without_a_cache(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, _ = batches(file)
    again, _ = batches(file)
    (file.parent / "not a folder").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(file.parent / "not a folder"))

    read, _ = batches(file)

    for tensor, second, plain in zip(kept, again, read, strict=True):
        assert torch.equal(tensor, plain)
        assert torch.equal(second, plain)


def test_a_changed_file_is_read_anew(file: Path) -> None:
    before, _ = batches(file)
    frame = pd.read_csv(file)
    frame["x"] = frame["x"] * 2 + frame["whole"]
    frame.to_csv(file, index=False)

    after, _ = batches(file)

    assert len(kept_files(file)) == 2
    assert not torch.equal(before[0], after[0])


def test_another_target_is_another_table(file: Path) -> None:
    batches(file)

    data = Table(str(file), target="whole", ignore="y")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.setup("fit")

    assert data.task == "regression"
    assert len(kept_files(file)) == 2
