"""The file of what a data module has fitted: it comes back as it was, and holds nothing that runs code."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpo.errors import LoadError
from hpo.training.prediction.state_file import STATE, parsed, read_state, state_of, write_state


class Fitted:
    """A data module, as far as its state goes."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def fitted_state(self) -> Any:
        return self._state


def round_trip(state: Any) -> dict[str, Any]:
    contents = state_of(Fitted(state))
    assert contents is not None
    return parsed(io.BytesIO(contents), "here")


def test_arrays_and_plain_values_come_back_at_any_depth() -> None:
    found = round_trip(
        {
            "a": np.arange(6, dtype=np.float32).reshape(2, 3),
            "b": {"c": [np.array(["x", "yz"]), {"d": np.array(3.5)}], "e": None, "f": True},
            "days": np.array(["2025-01-31"], dtype="datetime64[us]"),
            "count": np.int64(7),
            "names": ("é", "日"),
        }
    )

    np.testing.assert_array_equal(found["a"], np.arange(6).reshape(2, 3))
    assert found["a"].dtype == np.float32
    assert found["b"]["c"][0].tolist() == ["x", "yz"]
    assert found["b"]["c"][1]["d"] == 3.5
    assert (found["b"]["e"], found["b"]["f"]) == (None, True)
    assert str(found["days"][0]) == "2025-01-31T00:00:00.000000"
    assert (found["count"], found["names"]) == (7, ["é", "日"])


def test_tensors_come_back_as_arrays() -> None:
    np.testing.assert_array_equal(round_trip({"x": torch.tensor([1.0, 2.0])})["x"], [1.0, 2.0])


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"scaler": {"inner": [object()]}}, r"fitted_state\(\)\['scaler'\]\['inner'\]\[0\] is a object: only arrays"),
        ({"x": np.array([{}], dtype=object)}, r"\['x'\] is an array of Python objects"),
        ({3: 1}, "has the key 3: keys should be texts"),
        ({"array": "0"}, "has the key 'array'"),
    ],
)
def test_what_only_code_could_read_back_is_refused_with_its_place(state: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        state_of(Fitted(state))


def test_a_module_without_the_method_has_no_state() -> None:
    assert state_of(object()) is None


def test_a_missing_file_is_no_state(tmp_path: Path) -> None:
    assert read_state(tmp_path / "preprocessing.npz") is None


def test_a_removed_folder_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_state(b"x", tmp_path / "gone" / "preprocessing.npz")

    assert not (tmp_path / "gone").exists()


def cut(contents: bytes) -> bytes:
    return contents[: len(contents) // 2]


def flipped(contents: bytes) -> bytes:
    place = len(contents) // 2  # in the array
    return contents[:place] + bytes([contents[place] ^ 255]) + contents[place + 1 :]


def with_pickle(_: bytes) -> bytes:
    buffer = io.BytesIO()
    objects: Any = {STATE: np.array([{}], dtype=object)}
    np.savez(buffer, **objects)
    return buffer.getvalue()


def without_json(_: bytes) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros(3))
    return buffer.getvalue()


@pytest.mark.parametrize("spoil", [cut, flipped, with_pickle, without_json, lambda _: b"", lambda _: b"PK junk"])
def test_a_damaged_file_is_told_with_what_to_do(spoil: Any, tmp_path: Path) -> None:
    contents = state_of(Fitted({"x": np.arange(1000.0)}))
    assert contents is not None
    path = tmp_path / "preprocessing.npz"
    path.write_bytes(spoil(contents))

    with pytest.raises(LoadError, match=r"preprocessing.npz is damaged .*copy it again from the machine"):
        read_state(path)


def test_a_file_of_a_newer_release_is_told(tmp_path: Path) -> None:
    path = tmp_path / "preprocessing.npz"
    arrays: dict[str, Any] = {STATE: np.frombuffer(json.dumps({"format": 2, "state": {}}).encode(), np.uint8)}
    np.savez(path, **arrays)

    with pytest.raises(LoadError, match="was written by a newer hpo-service"):
        read_state(path)


def test_the_file_is_an_archive_that_numpy_reads(tmp_path: Path) -> None:
    contents = state_of(Fitted({"x": np.zeros(2)}))
    assert contents is not None
    write_state(contents, tmp_path / "preprocessing.npz")

    assert sorted(zipfile.ZipFile(tmp_path / "preprocessing.npz").namelist()) == ["0.npy", "state.npy"]
    assert [path.name for path in tmp_path.iterdir()] == ["preprocessing.npz"]
