"""What a data module has fitted, in a file beside a trial's checkpoint: an .npz, which is read without running code.

The file holds arrays by number, and as `state` the bytes of a JSON object:
    format   1; a release that changes the structure counts up
    by       the data module's class
    state    what its `fitted_state` gave, in which {"array": "3"} stands for array 3
"""

from __future__ import annotations

import errno
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hpo.errors import LoadError

FORMAT = 1
STATE, ARRAY = "state", "array"

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, LookupError, TypeError, AttributeError)


def state_of(data: Any) -> bytes | None:
    """The contents of the file for a data module that was set up; None if it has no `fitted_state`.

    Raises:
        TypeError: its state holds something else than arrays and plain values.
    """
    ask = getattr(data, "fitted_state", None)
    if not callable(ask):
        return None
    arrays: dict[str, NDArray[Any]] = {}
    plain = _without_arrays(ask(), arrays, "fitted_state()")
    head = {"format": FORMAT, "by": type(data).__name__, "state": plain}
    buffer = io.BytesIO()
    named: dict[str, Any] = {STATE: np.frombuffer(json.dumps(head).encode(), np.uint8), **arrays}
    np.savez(buffer, **named)
    return buffer.getvalue()


def write_state(contents: bytes, path: Path) -> None:
    """Write the file; a reader never sees a part of it.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    if not path.parent.is_dir():  # deleted with its study, it should not come back
        raise FileNotFoundError(errno.ENOENT, "the folder was removed", str(path.parent))
    partial = path.with_suffix(".partial")
    try:
        partial.write_bytes(contents)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)  # the half of it would keep the disk full
        raise


def read_state(path: Path) -> dict[str, Any] | None:
    """The state in a file; None if there is no file.

    Raises:
        LoadError: it cannot be read, is damaged, or was written by a newer release.
    """
    try:
        with path.open("rb") as file:
            return parsed(file, str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror or error}") from error
    except _DAMAGED as error:
        raise LoadError(
            f"{path} is damaged ({error}): copy it again from the machine that trained the trial; or remove it, and "
            "what was fitted is fitted again on the data of the trial"
        ) from error


def parsed(file: IO[bytes], where: str) -> dict[str, Any]:
    """The state in the contents of a file.

    Raises:
        LoadError: a newer release wrote it.
    """
    with np.load(file, allow_pickle=False) as arrays:
        head = json.loads(arrays[STATE].tobytes())
        if head["format"] > FORMAT:
            raise LoadError(f"{where} was written by a newer hpo-service: update this one")
        found: dict[str, Any] = _with_arrays(head["state"], {name: arrays[name] for name in arrays.files})
    return found


def _without_arrays(value: Any, arrays: dict[str, NDArray[Any]], place: str) -> Any:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            raise TypeError(f"{place} is an array of Python objects: give a list, or an array of numbers or texts")
        name = str(len(arrays))
        arrays[name] = value
        return {ARRAY: name}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str) or key == ARRAY]
        if wrong:
            raise TypeError(f"{place} has the key {wrong[0]!r}: keys should be texts, other than '{ARRAY}'")
        return {key: _without_arrays(item, arrays, f"{place}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_arrays(item, arrays, f"{place}[{number}]") for number, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"{place} is a {type(value).__name__}: only arrays, numbers, texts, lists and dicts are kept, as reading the "
        "file should run no code; give what it has learnt, such as vars() of a scaler"
    )


def _with_arrays(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {ARRAY}:
            return arrays[value[ARRAY]]
        return {key: _with_arrays(item, arrays) for key, item in value.items()}
    return [_with_arrays(item, arrays) for item in value] if isinstance(value, list) else value
