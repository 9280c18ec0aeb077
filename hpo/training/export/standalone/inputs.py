"""Reads a network's inputs as they are, of data whose conversion is not known here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def read(source: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of an .npz, by the names of the network's inputs.

    Raises:
        ValueError: one of them is missing.
    """
    try:
        with np.load(source, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # a damaged archive raises many kinds
        raise ValueError(f"{source}: cannot be read as .npz: {error}") from error
    names = [each["name"] for each in state["inputs"]]
    lacking = [name for name in names if name not in arrays]
    if lacking:
        raise ValueError(f"{source}: has no array '{lacking[0]}'; the network takes {', '.join(names)}, converted")
    inputs = tuple(arrays[each["name"]].astype(each["dtype"]) for each in state["inputs"])
    return {"inputs": inputs, "rows": {"row": list(range(1, len(inputs[0]) + 1))}, "remarks": []}
