"""Arrays of an .npz archive, read without running code."""

from __future__ import annotations

import zipfile
import zlib
from typing import Any

import numpy as np


def array_x(source: str) -> dict[str, Any]:
    """The arrays by name, among them `x`.

    Raises:
        ValueError: it is no readable archive, or has no `x`.
    """
    try:
        with np.load(source, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, AttributeError) as error:
        raise ValueError(f"{source}: cannot be read as .npz: {error}") from error
    if "x" not in arrays:
        raise ValueError(f"{source}: there is no array 'x'; it holds {', '.join(arrays) or 'nothing'}")
    return arrays
