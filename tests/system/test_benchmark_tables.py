"""The tables of benchmarks/README.md are written by the commands, between their markers, and nothing else is."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
README = BENCHMARKS / "README.md"
EXPERIMENTS = ("kills", "reclaim", "outage", "slots", "store", "fleet")
NEED_A_GPU = {"train_step_cuda"}  # may still wait for one
SECTIONS = {
    "train_step",
    *NEED_A_GPU,
    "startup",
    "looking",
    "pruning",
    "search-fashion",
    "search-fashion-more",
    "search-tabular",
    "floor",
    "time_left",
    "quality",
    *EXPERIMENTS,
}


def test_every_table_stands_between_the_markers_of_one_command() -> None:
    parts = re.split(r"^<!-- /?(.+) -->\n", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    names, prose, written = parts[1::2], parts[0::4], parts[2::4]

    assert names[0::2] == names[1::2]
    assert sorted(names[0::2]) == sorted(SECTIONS)
    assert not [line for part in prose for line in part.splitlines() if line.startswith("|")]
    assert {name for name, part in zip(names[0::2], written, strict=True) if "\n|---|" not in part} <= NEED_A_GPU


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    return Path(shutil.copy(README, tmp_path))


def replay(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "pruning.py"), "--subsets", "1", "--slots", "1", *options]
    environment = {"PYTHONPATH": str(BENCHMARKS.parent)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)


def test_a_command_writes_what_it_prints_between_its_markers(readme: Path) -> None:
    before = readme.read_text(encoding="utf-8")

    done = replay("--write", "--readme", str(readme))

    assert done.returncode == 0, done.stderr
    first, last = "<!-- pruning -->\n", "<!-- /pruning -->\n"
    after = readme.read_text(encoding="utf-8")
    assert "200 configurations of a CNN, 1 subsets of 40" in done.stdout
    assert after.partition(first)[2].partition(last)[0].strip() == done.stdout.strip()
    assert after.partition(first)[0] == before.partition(first)[0]
    assert after.partition(last)[2] == before.partition(last)[2]


def test_a_missing_marker_is_reported_before_anything_is_measured(readme: Path) -> None:
    readme.write_text(readme.read_text(encoding="utf-8").replace("<!-- /pruning -->", ""), encoding="utf-8")

    done = replay("--write", "--readme", str(readme))

    assert done.returncode == 1
    assert "should have one line '<!-- pruning -->', and after it one line '<!-- /pruning -->'" in done.stderr
    assert not done.stdout


def test_a_subset_larger_than_the_recording_is_refused_with_a_reason() -> None:
    done = replay("--size", "500")

    assert done.returncode == 2
    assert "--size should be 1 to 200" in done.stderr
    assert "Traceback" not in done.stderr


def test_searches_are_compared_with_those_of_the_same_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    search = importlib.import_module("search")

    def result(seconds: float, best: float) -> Any:
        return search.Result(seconds, 1.0, 1, best, (None, None), 1.0, 1)

    ours = {0: result(10, 0.88), 1: result(20, 0.89), 2: result(10, 0.87)}
    theirs = {0: result(30, 0.89), 1: result(20, 0.88), 2: result(40, 0.86)}

    lines = list(search.compared({"optuna-2": theirs, "ray": {1: result(50, 0.88)}, "hpo": ours}))

    # The differences are -1, 1 and 1 points, their standard deviation 2 / sqrt(3), over the root of three 2 / 3.
    assert lines == [
        "- optuna-2: 3.0 (1.0-4.0) times the wall time of hpo; mean best accuracy 0.8767, "
        "hpo +0.33 points (standard error 0.67)",
        "- ray: 2.5 (2.5-2.5) times the wall time of hpo; mean best accuracy 0.8800, hpo +1.00 points; of seed 1",
        "- hpo: mean best accuracy 0.8800",
    ]
