"""Scalings of numbers, fitted by scikit-learn and applied by NumPy, from plain arrays that a trial keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, RobustScaler, StandardScaler

Doubles = NDArray[np.float64]

MOST_QUANTILES = 1000
EDGE = 1e-7  # of the outermost quantiles; scikit-learn's BOUNDS_THRESHOLD


@dataclass(frozen=True)
class Scaling:
    """A fitted scaling of columns.

    Attributes:
        kind: of `scaling` in models.data.table:Table.
        arrays: its parameters, of each column:
            standard, robust  `shift` and `scale`: (x - shift) / scale
            min_max           `factor` and `offset`: x * factor + offset
            quantile          `quantiles` and `references` (quantiles, columns), their ranks from 0 to 1: the rank of x
                              among them, and of it the quantile of the normal distribution. Of an earlier release's
                              trials, one column of references is for all columns
            none              none: x
    """

    kind: str = "none"
    arrays: Mapping[str, Doubles] = field(default_factory=dict)

    def __call__(self, values: Doubles) -> Doubles:
        """Scaled values (rows, columns), as scikit-learn's own scaler gives them, to the last bit, but for quantile."""
        given = self.arrays
        match self.kind:
            case "standard" | "robust":
                return (values - given["shift"]) / given["scale"]
            case "min_max":
                return values * given["factor"] + given["offset"]
            case "quantile":
                quantiles = given["quantiles"].T
                columns = zip(values.T, quantiles, np.broadcast_to(given["references"].T, quantiles.shape), strict=True)
                return np.stack([_to_normal(*column) for column in columns], axis=1)
        return values


def fit_scaling(kind: str, values: Doubles) -> tuple[Scaling, Doubles]:
    """The scaling of values (rows, columns), and all that was learnt as one array, to be compared with another's."""
    fitted = _fitted(kind, values)
    if fitted is None:
        return Scaling(), np.empty(0)
    if kind == "quantile":  # the quantiles are scikit-learn's, their ranks are not
        fitted.references_ = _ranks(fitted.quantiles_, len(values))
    learnt = [np.ravel(value) for _, value in sorted(vars(fitted).items()) if isinstance(value, np.ndarray)]
    match kind:
        case "standard":
            arrays = {"shift": fitted.mean_, "scale": fitted.scale_}
        case "robust":
            arrays = {"shift": fitted.center_, "scale": fitted.scale_}
        case "min_max":
            arrays = {"factor": fitted.scale_, "offset": fitted.min_}
        case _:
            arrays = {"quantiles": fitted.quantiles_, "references": fitted.references_}
    return Scaling(kind, arrays), np.concatenate([np.empty(0), *learnt])


def _fitted(kind: str, values: Doubles) -> Any:
    """scikit-learn's scaler; None without one."""
    match kind:
        case "standard":
            return StandardScaler().fit(values)
        case "robust":
            return RobustScaler().fit(values)
        case "min_max":
            return MinMaxScaler().fit(values)
        case "quantile":
            # to a normal distribution; random_state selects rows if there are very many
            count = min(MOST_QUANTILES, len(values))
            return QuantileTransformer(n_quantiles=count, output_distribution="normal", random_state=0).fit(values)
    return None


def _ranks(quantiles: Doubles, rows: int) -> Doubles:
    """The rank of each quantile of a column, the middle one where several are equal; at least half a row from 0 and 1.

    scikit-learn's are 0 and 1 at the ends, so that it gives the values of a column of two, or the smallest and largest
    of few rows, as -5.2 and 5.2, from which networks learn worse (docs/tables.md).
    """
    places = [[np.searchsorted(column, column, side) for side in ("left", "right")] for column in quantiles.T]
    middle = [(first + last - 1) / 2 for first, last in places]
    ranks: Doubles = np.stack(middle, axis=1) / max(1, len(quantiles) - 1)
    return ranks.clip(0.5 / rows, 1 - 0.5 / rows)


def _to_normal(x: Doubles, quantiles: Doubles, references: Doubles) -> Doubles:
    """The mean of the ranks from below and from above, which differ where a quantile repeats, as normal quantiles."""
    below = np.interp(x, quantiles, references)
    above = -np.interp(-x, -quantiles[::-1], -references[::-1])
    ranks = 0.5 * (below + above)
    ranks[x + EDGE > quantiles[-1]] = references[-1]
    ranks[x - EDGE < quantiles[0]] = references[0]
    low, high = ndtri(EDGE - np.spacing(1)), ndtri(1 - (EDGE - np.spacing(1)))
    normal: Doubles = np.clip(ndtri(ranks), low, high)
    return normal
