"""New images, sequences and series: what is not like the training's is converted or refused, and told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from drawn import drawn, drawn_folders, drawn_npz, write_folders, write_idx
from PIL import Image
from recorded import measured_csv, panel_csv, recorded, recorded_npz

from models.data import Digits, Images, Sequences, Series
from models.data.grid import following, step_of


def state_of(data: Any) -> dict[str, Any]:
    data.setup("fit")
    found: dict[str, Any] = data.fitted_state()
    return found


def read(data: Any, source: Any, state: dict[str, Any]) -> tuple[list[Any], dict[str, Any], list[str]]:
    """(batches, rows, remarks)"""
    new = data.new_data(source, state)
    return list(new["batches"]), dict(new["rows"]), list(new["remarks"])


# ---- images


@pytest.fixture(scope="module")
def coloured() -> dict[str, Any]:
    return state_of(Images(drawn_folders()))


def test_a_folder_of_folders_is_read_file_by_file(coloured: dict[str, Any], tmp_path: Path) -> None:
    write_folders(tmp_path, *drawn(9, channels=3))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "bar" / "broken.png").write_bytes(b"x")

    batches, rows, remarks = read(Images(""), tmp_path, coloured)

    assert torch.cat(batches).shape == (9, 3, 9, 8)
    assert rows["file"][:3] == ["bar/000.png", "bar/003.png", "bar/006.png"]
    assert f"{tmp_path}: 1 file left out: 1 .txt" in remarks
    assert "images that cannot be read, and are left out: 1: bar/broken.png (is no image that Pillow reads)" in remarks


def test_images_of_another_size_and_of_grey_are_converted_and_counted(coloured: dict[str, Any], tmp_path: Path) -> None:
    for name, shape in (("grey", (9, 8)), ("large", (18, 16, 3))):
        Image.fromarray(np.full(shape, 200, dtype=np.uint8)).save(tmp_path / f"{name}.png")

    batches, _, remarks = read(Images(""), tmp_path, coloured)

    torch.testing.assert_close(torch.cat(batches), torch.full((2, 3, 9, 8), 200 / 255))
    assert remarks == [
        "images converted to colour: 1 of 2",
        "images of another size, resized to 8 x 9 pixels: 1 of 2",
    ]


def test_images_of_16_bits_are_as_bright_as_those_of_8(tmp_path: Path) -> None:
    state = state_of(Images(drawn_npz()))
    Image.fromarray(np.full((9, 8), 40_000, dtype=np.uint16)).save(tmp_path / "deep.png")

    batches, rows, remarks = read(Images(""), tmp_path / "deep.png", state)

    assert rows == {"file": ["deep.png"]}
    assert torch.cat(batches).mean() == pytest.approx(round(40_000 / 257) / 255)
    assert remarks == ["images converted to the bits of those of the training: 1 of 1"]


def test_an_idx_file_and_an_array_are_the_same_images(tmp_path: Path) -> None:
    state = state_of(Images(drawn_npz()))
    pixels = drawn(5)[0][:, :, :, 0]

    from_file = read(Images(""), write_idx(tmp_path / "images-idx3-ubyte.gz", pixels), state)
    from_array = read(Images(""), pixels, state)

    assert torch.equal(torch.cat(from_file[0]), torch.cat(from_array[0]))
    assert from_file[1] == from_array[1] == {"image": [0, 1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "Images: nowhere: there is no such file or folder"),
        ("empty", r"Images: .*there are no images in this folder"),
        ("broken", r"Images: .*no image can be read: a.png \(is no image"),
        (np.zeros((2, 9, 8), dtype=np.float32), "the images are float32; those of the training are bytes"),
        (np.zeros((2, 9, 8, 2), dtype=np.uint8), "each of the new images has 2 channels, the training images have 3"),
        (3, "should be a path or an array, not int"),
    ],
    ids=str,
)
def test_what_is_no_image_like_those_of_the_training_is_refused(
    coloured: dict[str, Any], source: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("broken").mkdir()
    Path("broken", "a.png").write_bytes(b"x")

    with pytest.raises(ValueError, match=message):
        read(Images(""), source, coloured)


def test_digits_of_another_range_are_told_and_those_of_another_size_refused() -> None:
    state = state_of(Digits())

    remarks = read(Digits(), np.full((2, 8, 8), 255.0), state)[2]

    assert remarks == ["pixels are from 255 to 255, those of the training from 0 to 16"]
    with pytest.raises(
        ValueError, match=r"should be numbers \(images, 8, 8\) or \(images, 64\), not float64 \(2, 7, 8\)"
    ):
        read(Digits(), np.zeros((2, 7, 8)), state)


# ---- sequences


@pytest.fixture(scope="module")
def steps_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sequences in a table, a row for each step."""
    arrays = recorded()
    rows = [
        {"id": f"s{sample}", "time": step, "a": x[0], "b": x[1], "c": x[2], "label": "uv"[arrays["y"][sample]]}
        for sample, length in enumerate(arrays["length"])
        for step, x in enumerate(arrays["x"][sample][:length])
    ]
    path = tmp_path_factory.mktemp("steps") / "steps.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_a_table_of_steps_is_read_by_its_columns(steps_csv: Path, tmp_path: Path) -> None:
    state = state_of(Sequences(str(steps_csv)))
    table = pd.read_csv(steps_csv)
    wanted = table[table["id"].isin(["s3", "s7"])]
    wanted[["c", "id", "b", "time", "a", "label"]].assign(more=1).to_csv(tmp_path / "new.csv", index=False)

    batches, rows, remarks = read(Sequences(""), tmp_path / "new.csv", state)

    [((x, lengths),)] = batches
    expected = (wanted[["a", "b", "c"]].to_numpy() - state["shift"]) / state["scale"]
    np.testing.assert_allclose(x[0, : lengths[0]], expected[: lengths[0]], rtol=1e-5)
    assert rows["id"].tolist() == ["s3", "s7"]
    assert remarks == ["columns that are not used: label, more"]


@pytest.mark.parametrize(
    ("drop", "message"),
    [
        (["a", "c"], "lacks 2 of the 3 features that the model learnt from: 'a'; 'c'"),
        (["time"], "there is no column 'time'"),
    ],
)
def test_a_table_of_steps_that_lacks_columns_is_refused(
    steps_csv: Path, drop: list[str], message: str, tmp_path: Path
) -> None:
    state = state_of(Sequences(str(steps_csv)))
    pd.read_csv(steps_csv).drop(columns=drop).to_csv(tmp_path / "new.csv", index=False)

    with pytest.raises(ValueError, match=message):
        read(Sequences(""), tmp_path / "new.csv", state)


def test_rows_of_steps_are_named_by_their_sequence_and_time(tmp_path: Path) -> None:
    state = state_of(Sequences(recorded_npz("step class"), labels="step"))

    new = Sequences("", labels="step").new_data((recorded()["x"][:2], np.array([2, 3])), state)

    assert {name: list(values) for name, values in new["rows"].items()} == {
        "sequence": [0, 0, 1, 1, 1],
        "step": [0, 1, 0, 1, 2],
    }
    assert new["steps"].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((2, 4, 5)), "a step has 5 features; the model learnt from 3"),
        (np.full((2, 4, 3), np.nan), "x has 24 values that are missing or infinite"),
        ((np.zeros((2, 4, 3)), np.array([4])), "x has 2 sequences, length has 1 entries"),
        ("gone.npz", "there is no such file"),
        ([1], "should be a file or an array, not list"),
    ],
    ids=["features", "nan", "lengths", "gone", "list"],
)
def test_arrays_that_are_no_such_sequences_are_refused(source: Any, message: str) -> None:
    state = state_of(Sequences(recorded_npz("class")))

    with pytest.raises(ValueError, match=message):
        read(Sequences(""), source, state)


# ---- series


@pytest.fixture(scope="module")
def hourly() -> dict[str, Any]:
    return state_of(Series(measured_csv(), target="wind", features="", window=5, horizon=3))


def test_the_forecast_follows_the_end_of_a_data_frame(hourly: dict[str, Any]) -> None:
    times = pd.date_range("2025-03-01 06:00", periods=9, freq="h")

    batches, rows, remarks = read(Series(""), pd.DataFrame({"time": times, "wind": np.arange(9.0)}), hourly)

    assert [str(time) for time in rows["time"]] == [f"2025-03-01T{hour}:00:00.000000" for hour in (15, 16, 17)]
    assert torch.cat(batches).shape == (1, 5, 1)
    assert remarks == []


@pytest.mark.parametrize(
    ("table", "remark"),
    [
        (
            {"time": pd.date_range("2025-03-01", periods=9), "wind": np.arange(9.0)},
            "the times are steps of 1 days; the",
        ),
        (
            {"time": pd.date_range("2025-03-01", periods=9, freq="h"), "wind": 1.0, "rain": 2},
            "columns that are not used",
        ),
    ],
    ids=["steps", "columns"],
)
def test_what_is_odd_in_a_series_is_told(hourly: dict[str, Any], table: dict[str, Any], remark: str) -> None:
    remarks = read(Series(""), pd.DataFrame(table), hourly)[2]

    assert [text for text in remarks if text.startswith(remark)], remarks


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"when": [1, 2], "wind": [1, 2]}, r"lacks 1 of the 2 columns that the model needs: 'time'"),
        (
            {"time": pd.date_range("2025-03-01", periods=4, freq="h"), "wind": 1.0},
            "has 4 steps; the model needs the last 6",
        ),
        (
            {"time": pd.date_range("2025-03-01", periods=9, freq="h"), "wind": [1, 2, 3, 4, np.nan, 6, 7, 8, 9]},
            "1 of the values that the model needs are missing, the first in column 'wind' at 2025-03-01 04:00:00: fill",
        ),
        ({"time": ["2025-03-01", "soon"], "wind": [1, 2]}, "'soon' in row 2 is not a date"),
        ({"time": pd.date_range("2025-03-01", periods=9, freq="h"), "wind": ["x"] * 9}, "'x' is not a number"),
    ],
    ids=["columns", "short", "gaps", "times", "texts"],
)
def test_a_series_that_cannot_be_forecast_is_refused(
    hourly: dict[str, Any], table: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read(Series(""), pd.DataFrame(table), hourly)


def test_series_that_are_too_short_are_left_out_and_told(tmp_path: Path) -> None:
    state = state_of(Series(panel_csv(), id="site", target="wind", features="", window=5))
    table = pd.read_csv(panel_csv())
    short = table[(table["site"] != "site 1") | (table["time"] < "2020-01-01T03")]
    short.to_csv(tmp_path / "new.csv", index=False)

    batches, rows, remarks = read(Series("", id="site"), tmp_path / "new.csv", state)

    assert torch.cat(batches).shape[0] == 2
    assert rows["site"].tolist() == ["site 0", "site 2"]
    assert (
        "series 'site 1' has 3 steps; the model needs the last 6: 1 of 3 series are too short and left out" in remarks
    )


@pytest.mark.parametrize(
    ("times", "step", "following_ones"),
    [
        (["2025-01-31", "2025-02-28", "2025-03-31"], "ME", ["2025-04-30", "2025-05-31"]),
        (["2025-01-01", "2025-02-01", "2025-03-01"], "MS", ["2025-04-01", "2025-05-01"]),
        (["2025-01-01", "2025-01-02"], 86_400e6, ["2025-01-03", "2025-01-04"]),
    ],
)
def test_times_go_on_as_they_were(times: list[str], step: Any, following_ones: list[str]) -> None:
    moments = np.array(times, dtype="datetime64[us]")

    assert step_of(moments) == step
    assert following(moments[-1], step, 2).astype("datetime64[D]").astype(str).tolist() == following_ones


def test_numbers_as_times_go_on_too() -> None:
    assert step_of(np.array([1.0, 1.5, 2.0])) == 0.5
    assert following(2.0, 0.5, 3).tolist() == [2.5, 3.0, 3.5]
