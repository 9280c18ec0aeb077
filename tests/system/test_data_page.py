"""docs/data.md: its command runs, and numbers and dates are read as it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest

from models.data.dates import dates
from models.data.numerals import Numerals, read_numbers

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


def test_the_command_runs(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    [command] = re.findall(r"^\$ (.*)", PAGE, flags=re.MULTILINE)
    for line in ("hpo init .", command):
        done = subprocess.run(line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def test_numbers_are_read_as_the_page_says() -> None:
    rows = re.findall(r"^\| (`.*) \| (-?\d[\d, -]*\d)\b.*\|$", PAGE.replace(" and ", ", "), flags=re.MULTILINE)
    assert len(rows) == 6
    for written, read in rows:
        for text, value in zip(re.findall("`([^`]+)`", written), read.split(", "), strict=True):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                found = read_numbers(pd.Series([text], dtype=object), Numerals(), who="Table")
            assert found.tolist() == [float(value)], text


def test_months_of_other_languages_are_read_as_the_page_says() -> None:
    named = re.findall("`([^`]*2024)`", PAGE.split("language\nof Europe")[1].split("\n\n")[0])
    found = [dates(pd.Series([text], name="when"), who="Table")[0] for text in named]
    assert [str(moment.date()) for moment in found] == ["2024-12-31", "2024-03-01"]


def test_the_test_part_is_predicted_as_the_page_says(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    [code] = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    code += "\nassert sum(map(len, probabilities)) == len(data.test_dataloader().targets) > 0\n"
    run = "hpo run studies/quickstart.yaml --set budget.trials=1 --set epochs=1"
    for line in ("hpo init .", run, f"{sys.executable} predict.py"):
        if line.endswith("predict.py"):
            (tmp_path / "predict.py").write_text(code)
        done = subprocess.run(line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("clock", ["", "10:05", "10:05:30", "1:05 PM"])
def test_dates_are_read_as_the_page_says(clock: str) -> None:
    named = re.findall("`([^`]*2024[^`]*)`", PAGE.split("## Dates")[1].split("months such as")[0])
    assert len(named) == 5
    for text in named:
        assert f"`{clock}`" in PAGE or not clock
        [found] = dates(pd.Series([f"{text} {clock}".strip()], name="when"), who="Table")
        assert str(found.date()) == "2024-12-31"
