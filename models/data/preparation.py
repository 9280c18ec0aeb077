"""A short summary of what a data module has fitted, by which a trained model knows the batches it can be given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor


def summary_of(fitted: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values that are equal for equal contents: four numbers for an array or a tensor, a hash for anything else.

    Numbers may be compared with a tolerance, since another processor may round otherwise: an array's count, its mean,
    the mean of its absolute values, and its mean weighted by the place of each value.
    """
    return {
        name: _numbers(value) if isinstance(value, np.ndarray | Tensor) else _hash(value)
        for name, value in fitted.items()
    }


def _numbers(values: Any) -> list[float]:
    flat = np.nan_to_num(np.asarray(values, dtype=np.float64).ravel())
    if not len(flat):
        return [0.0, 0.0, 0.0, 0.0]
    weights = np.linspace(1.0, 2.0, len(flat))
    return [float(len(flat)), float(flat.mean()), float(np.abs(flat).mean()), float((flat * weights).mean())]


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
