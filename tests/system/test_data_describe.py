"""`hpo data describe`: our data, users' data, and unreadable data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from projects.launch import PROJECT, Hpo

from hpo.errors import HpoError
from hpo.ipc.channel import Message
from hpo.ipc.fork_server import ForkServer
from hpo.service.describe_data import describe_data, picture_file
from hpo.service.prepare import prepare
from hpo.study.job import Call, DataJob
from hpo.study.study_file import read_study
from hpo.training.inspection import inspect_data


@pytest.fixture
def hpo(tmp_path: Path) -> Hpo:
    url = f"sqlite:///{tmp_path}/hpo.db"
    return Hpo(tmp_path, url, environment={"HPO_STORE": url})


def described(data: str, picture: Path, **arguments: Any) -> Message:
    """What the process that looks at the data answers."""
    answer = inspect_data(DataJob(str(PROJECT), Call(data, arguments), seed=0, title=data, picture=str(picture)))
    json.dumps(answer, allow_nan=False)  # it goes through a socket
    return answer


def is_a_picture(path: Path) -> bool:
    with Image.open(path) as image:
        return image.size == (1200, 800) and len(set(image.convert("L").tobytes())) > 10


def test_problems_of_a_table_are_reported(hpo: Hpo) -> None:
    study = hpo.study("leaky", data="projects.lookat:Leaky")

    code, output = hpo.run("data", "describe", study)

    assert code == 0, output
    assert output.startswith("projects.lookat:Leaky (rows=300, scaling=thousandfold)")
    assert "looked at with scaling=none, in the data's own unit" in output
    assert "a table; one of two classes to predict (binary); the test part was not touched" in output
    for fact in ("train", "validation", "5 float32", "US$ [income]", "200", "100", "missing values: age 3"):
        assert fact in output
    for warning in (
        "a leak? column 'twin' is the same as the target",
        "10 of 100 samples (10.0%) of validation are also in train",
        "column 'stuck' has one value in all of train",
        "1 missing (NaN) value in the inputs, column 'noise'",
        "times as frequent as '1'",
        "2 rows are without a value",
    ):
        assert warning in output
    assert "reading" not in output.split()
    assert output.endswith("picture: leaky-data.png\n")
    assert is_a_picture(hpo.folder / "leaky-data.png")
    assert not (hpo.folder / "hpo.db").exists()


def test_as_json_it_is_one_document(hpo: Hpo) -> None:
    study = hpo.study("json", data="models.data:Digits")

    code, output = hpo.run("data", "describe", study, "--json", "--out", "digits.png", "--set", "space.batch_size=32")

    assert code == 0, output
    report = json.loads(output)
    assert report["data"]["class"] == "models.data:Digits"
    assert report["data"]["arguments"]["batch_size"] == 32
    assert (report["holds"], report["task"]) == ("images", "multiclass")
    assert [(part["part"], part["samples"]) for part in report["parts"]] == [("train", 1169), ("validation", 359)]
    assert report["parts"][0]["classes"]["0"] == 115
    assert report["features"][0] | {"mean": 0, "std": 0} == {
        "name": "grey", "missing": 0, "min": 0, "max": 16, "mean": 0, "std": 0, "distinct": 17
    }  # fmt: skip
    assert report["facts"] == {"samples of the test part": 269}
    assert report["warnings"] == []
    assert report["picture"] == str(hpo.folder / "digits.png")
    assert is_a_picture(hpo.folder / "digits.png")


def test_sequences_of_any_loader_are_described_with_their_lengths(tmp_path: Path) -> None:
    report = described("projects.lookat:Waves", tmp_path / "waves.png")

    assert report["holds"] == "sequences"
    assert [shape["name"] for shape in report["parts"][0]["inputs"]] == ["wave", "lengths"]
    assert report["parts"][0]["lengths"] == {"shortest": 10, "median": 13.0, "longest": 16}
    assert report["parts"][1]["classes"] == {"0": 10, "1": 10, "2": 10}
    assert report["warnings"] == []
    assert is_a_picture(tmp_path / "waves.png")


@pytest.mark.parametrize("module", ["Leaky", "Patches", "Nameless"])
def test_each_kind_of_data_has_its_picture(module: str, tmp_path: Path) -> None:
    described(f"projects.lookat:{module}", tmp_path / "picture.png")

    assert is_a_picture(tmp_path / "picture.png")


def test_a_file_s_gaps_and_categories_are_reported_before_they_are_filled_in(tmp_path: Path) -> None:
    rows = [f"{n % 9 or ''},{'red' if n % 2 else 'blue'},here,{n % 7}.5" for n in range(120)]
    (tmp_path / "table.csv").write_text("\n".join(["size,colour,place,price", *rows]))

    report = described("models.data:Table", tmp_path / "table.png", source=f"{tmp_path}/table.csv", target="price")

    assert [feature["name"] for feature in report["features"]] == ["size", "colour"]
    assert report["facts"]["columns of the file"] == {"numbers": 1, "dates": 0, "categories": 2}
    assert 5 < report["facts"]["missing in train and validation"]["size"] < 14
    assert report["facts"]["with one value only"] == ["place"]
    price = report["parts"][0]["values"][0]
    assert (price["min"], price["max"], price["distinct"]) == (pytest.approx(0.5), pytest.approx(6.5), 7)
    assert is_a_picture(tmp_path / "table.png")


def test_a_series_is_described_and_drawn_over_its_time(tmp_path: Path) -> None:
    path = PROJECT.parent / "studies" / "data" / "co2_weekly.csv"

    report = described("models.data:Series", tmp_path / "co2.png", path=str(path), interpolation="linear", horizon=2)

    assert report["facts"]["train and validation"] == "1958-03-29 to 1995-06-03"
    assert report["facts"]["missing in train and validation"] == {"co2_ppmv": 59}
    assert [value["name"] for value in report["parts"][0]["values"]] == ["co2_ppmv, 1 ahead", "co2_ppmv, 2 ahead"]
    assert is_a_picture(tmp_path / "co2.png")


def test_facts_of_the_data_module_are_passed_on(tmp_path: Path) -> None:
    report = described("projects.lookat:Leaky", tmp_path / "picture.png", rows=90)

    assert report["facts"] == {"missing values": {"age": 3}, "odd": [1.5, None]}
    assert report["changed"] == {"scaling": "none"}
    assert report["remarks"] == ["2 rows are without a value"]


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("Bare", "RuntimeError: the cupboard is bare\n  "),
        ("Leaving", "SystemExit: nothing here\n  "),
        ("Quitting", "the process that read the data exited without reporting (signal 9)"),
        ("Wordy", "the train part's batches hold no tensor: a batch is a list of 2 str"),
    ],
)
def test_unreadable_data_is_reported_with_the_reason_and_the_line(
    hpo: Hpo, server: ForkServer, module: str, reason: str
) -> None:
    study = read_study(hpo.study("broken", data=f"projects.lookat:{module}"))

    with prepare(*study, server=server, project=PROJECT) as prepared, pytest.raises(HpoError) as caught:
        describe_data(prepared, picture=hpo.folder / "picture.png")

    output = str(caught.value)
    assert output.startswith(f"{hpo.folder}/broken.yaml:1: data: {reason}")
    assert caught.value.exit_code == 2
    assert output.count(f"{PROJECT}/projects/lookat.py, line ") == (module in ("Bare", "Leaving"))


@pytest.mark.parametrize(
    ("out", "reason"),
    [
        ("data.txt", "ends in one of .png, .svg, .pdf"),
        ("no/data.png", "there is no folder"),
        ("art.png", "is a folder"),
    ],
)
def test_a_picture_that_cannot_be_written_is_refused_at_once(tmp_path: Path, out: str, reason: str) -> None:
    (tmp_path / "art.png").mkdir()

    with pytest.raises(HpoError, match=f"--out .*{out}: .*{reason}"):
        picture_file(tmp_path / out, "study")
