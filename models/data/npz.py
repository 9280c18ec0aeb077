"""Arrays of an .npz archive, read without running code."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_arrays(path: Path, required: Collection[str], *, who: str, advice: str = "") -> dict[str, NDArray[Any]]:
    """All arrays of an archive, by name.

    Args:
        who: begins each message.
        advice: on objects in the archive, which are not read.

    Raises:
        ValueError: it is no archive, is damaged, or lacks one of the required arrays.
    """
    if not path.is_file():
        raise ValueError(f"{who}: {'is a folder' if path.is_dir() else 'there is no such file'}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{who}: it is not an .npz archive")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, AttributeError) as error:
        raise ValueError(f"{who}: it cannot be read as .npz: {error}") from error
    except ValueError as error:  # an array of objects
        raise ValueError(f"{who}: it holds Python objects{advice and ', '}{advice} ({error})") from error
    for name in required:
        if name not in arrays:
            raise ValueError(f"{who}: there is no array '{name}'; it holds {', '.join(arrays) or 'nothing'}")
    return arrays
