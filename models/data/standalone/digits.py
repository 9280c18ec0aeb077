"""New handwritten digits as a network's inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.data.standalone.arrays import array_x


def read(source: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """Images (images, 8, 8) or (images, 64) from 0 to 16, as `x` of an .npz.

    Raises:
        ValueError: they are not there.
    """
    x = array_x(source)["x"]
    if x.dtype.kind not in "biuf" or x.ndim < 2 or not len(x) or x[0].size != 64:
        raise ValueError(f"{source}: images should be numbers (images, 8, 8) or (images, 64), not {x.dtype} {x.shape}")
    pixels = x.reshape(len(x), 64).astype(np.float32)
    if not np.isfinite(pixels).all():
        raise ValueError(f"{source}: some pixels are not finite numbers")
    features = ((pixels - state["shift"]) / state["scale"]).astype(np.float32).reshape(-1, 1, 8, 8)
    return {"inputs": (features,), "rows": {"image": list(range(len(x)))}, "remarks": []}
