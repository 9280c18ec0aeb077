"""Samples with other values in some rows of the file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.data.base import Samples

Ints = NDArray[np.int64]


def with_garbage(samples: Samples, rows: Ints) -> Samples:
    """Other inputs in these rows, and other targets where they are no class numbers; keys and lengths stay."""
    targets = samples.targets
    return samples._replace(inputs=_spoiled(samples.inputs, rows), targets=_spoiled_values(targets, rows))


def _spoiled(values: Any, rows: Ints) -> Any:
    """In the kind of each value: numbers too large, strings unheard of, dates far away, pixels inverted."""
    match values:
        case None:
            return None
        case tuple():
            return tuple(_spoiled(part, rows) for part in values)
        case dict():
            return {name: _spoiled(part, rows) for name, part in values.items()}
        case list():
            chosen = set(rows.tolist())
            return [_spoiled_array(np.asarray(v)) if row in chosen else v for row, v in enumerate(values)]
        case pd.DataFrame():
            return pd.DataFrame({name: _spoiled(values[name], rows) for name in values}, index=values.index)
        case pd.Series():
            changed = values.copy()
            changed.iloc[rows] = _spoiled_column(values.iloc[rows])
            return changed
        case Tensor():
            return torch.from_numpy(_spoiled(values.numpy(), rows))
        case np.ndarray():
            copy = values.copy()
            copy[rows] = _spoiled_array(values[rows])
            return copy
    raise TypeError(f"read() gave {type(values).__name__}: it should be arrays, data frames, lists, tuples or dicts")


def _spoiled_values(targets: Any, rows: Ints) -> Any:
    is_float = hasattr(targets, "dtype") and "float" in str(targets.dtype)
    return _spoiled(targets, rows) if is_float or isinstance(targets, pd.DataFrame) else targets


def _spoiled_array(values: NDArray[Any]) -> NDArray[Any]:
    generator = np.random.default_rng(0)
    if values.dtype == np.uint8:
        return 255 - values
    if np.issubdtype(values.dtype, np.floating):
        garbage = generator.uniform(500, 1000, size=values.shape).astype(values.dtype)
        return np.where(np.isnan(values), values, garbage)
    return values  # lengths and other counts, whose every value means something


def _spoiled_column(values: pd.Series[Any]) -> Any:
    if pd.api.types.is_datetime64_any_dtype(values):
        return values + pd.Timedelta(days=20_000)
    if pd.api.types.is_bool_dtype(values):
        return ~values
    if pd.api.types.is_integer_dtype(values):
        return values * 1000 + 7
    if pd.api.types.is_float_dtype(values):
        return np.random.default_rng(0).uniform(500, 1000, size=len(values))
    return "unheard of"
