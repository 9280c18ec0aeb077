"""The tables of benchmarks/README.md are written by the commands, between their markers, and nothing else is."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hpo.service.points import read_points

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
README = BENCHMARKS / "README.md"
EXPERIMENTS = (
    "kills",
    "reclaim",
    "outage",
    "slots",
    "store",
    "fleet",
    "files",
    "signals",
    "tiny",
    "stalls",
    "crashes",
    "finalize",
    "ray",
    "slurm",
    "moves",
    "devices",
    "ranks",
)
NEED_A_GPU = {"train_step_cuda", "gpu"}  # may still wait for one
SECTIONS = {
    "train_step",
    *NEED_A_GPU,
    "startup",
    "tracking",
    "looking",
    "api",
    "serving",
    "live",
    "archive",
    "predict",
    "honest",
    "pruning",
    "search_quality",
    "search-fashion",
    "search-fashion-more",
    "search-fashion-quality",
    "search-tabular",
    "search-same-points-tabular",
    "search-same-points-mlp",
    "search-same-points-cnn",
    "floor",
    "time_left",
    "quality",
    "rivals",
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


@pytest.fixture
def contest(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules of the search benchmark, as `from experiments.contest import ...` of a script gives them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return SimpleNamespace(
        **{name: importlib.import_module(f"experiments.contest.{name}") for name in ("measure", "points", "tables")}
    )


def result(contest: Any, seconds: float, best: float = 0.88, until: tuple[float | None, ...] = (None, None)) -> Any:
    return contest.measure.Result(seconds, seconds / 2, 1, best, until, 1.0, 1)


def test_searches_are_compared_with_those_of_the_same_seeds(contest: Any) -> None:
    ours = {seed: result(contest, *of) for seed, of in enumerate([(10, 0.88), (20, 0.89), (10, 0.87)])}
    theirs = {seed: result(contest, *of) for seed, of in enumerate([(30, 0.89), (20, 0.88), (40, 0.86)])}

    lines = list(contest.tables.compared({"optuna-2": theirs, "ray": {1: result(contest, 50)}, "hpo": ours}))

    # The differences are -1, 1 and 1 points, their standard deviation 2 / sqrt(3), over the root of three 2 / 3.
    assert lines == [
        "- optuna-2: 3.0 (1.0-4.0) times the wall time of hpo; mean best accuracy 0.8767, "
        "hpo +0.33 points (standard error 0.67)",
        "- ray: 2.5 (2.5-2.5) times the wall time of hpo; mean best accuracy 0.8800, hpo +1.00 points; of seed 1",
        "- hpo: mean best accuracy 0.8800",
    ]


def test_the_interval_of_a_median_is_that_of_the_binomial_distribution(contest: Any) -> None:
    interval = contest.tables.interval_of_median

    # Of ten values, both beside the second and the ninth leave 2 * (1 + 10) / 1024 = 2.1 % out; one further 10.9 %.
    assert interval([5, 3, 9, 1, 7, 2, 8, 4, 10, 6]) == (2, 9)
    assert interval(list(range(15))) == (3, 11)  # 2 * (1 + 15 + 105 + 455) / 32768 = 3.5 %
    assert interval([1, 2, 3, 4, 5, 6]) == (1, 6)  # 2 / 64 = 3.1 %
    assert interval([1, 2, 3, 4, 5]) is None  # 2 / 32 = 6.3 %


def test_the_time_to_a_quality_counts_searches_that_never_reach_it(contest: Any) -> None:
    ours = {seed: result(contest, 20 + seed, until=(10.0, 20.0 if seed else None)) for seed in range(6)}
    theirs = {seed: result(contest, 60, until=(30.0, None if seed < 4 else 40.0)) for seed in range(6)}

    head, _, *rows = contest.tables.quality_table({"hpo": ours, "optuna-2": theirs}, (0.84, 0.86))

    assert head.startswith("| until | | seeds | reached it | s, median (95% interval) | times as long as hpo")
    assert rows == [
        "| 0.84 | hpo | 6 | 6 | 10 (10-10) |  |",
        "| 0.84 | optuna-2 | 6 | 6 | 30 (30-30) | 3.0 (3.0-3.0) |",
        "| 0.86 | hpo | 6 | 5 | 20 (20-never) |  |",
        "| 0.86 | optuna-2 | 6 | 2 | never (40-never) | never |",  # of five ratios: seed 0 reached it with neither
        "| the end | hpo | 6 | 6 | 22 (20-25) |  |",
        "| the end | optuna-2 | 6 | 6 | 60 (60-60) | 2.7 (2.4-3.0) |",
    ]


def test_rows_that_were_written_are_read_as_they_were_measured(contest: Any) -> None:
    slow = contest.measure.Result(165.0, 317.0, 85, 0.8845, (24.0, None), 5.8, 2**29)
    fast = contest.measure.Result(27.0, 48.0, 69, 0.868, (24.0, 27.0), 1.8, 2**30)
    row = contest.tables.row
    written = [f"| optuna-1 | 0 | {row(slow)} |", f"| hpo | 11 | {row(fast)} |"]
    others = ["| optuna-2 | 4 | failed | | | | | | |", f"| **hpo** | median | {row(fast)} |"]

    found = contest.tables.read_rows("\n".join([*written, *others]))

    assert found == {"optuna-1": {0: slow}, "hpo": {11: fast}}


def test_the_cost_of_the_same_points_is_told_in_wall_and_processor_time(contest: Any) -> None:
    ours, theirs = ({seed: result(contest, time) for seed in range(3)} for time in (10, 21))

    [line] = contest.tables.cost_of_points({"optuna-2": theirs, "hpo": ours})

    assert line == (
        "- optuna-2: 2.10 (2.10-2.10) times the wall time of hpo, 2.10 (2.10-2.10) times its processor time"
    )


def test_each_tool_is_given_the_same_points(contest: Any, tmp_path: Path) -> None:
    points = contest.points.draw_points("fashion", 5, seed=3)
    convolutional = contest.points.draw_points("fashion", 3, seed=3, arch="cnn")
    contest.points.write_points(points, tmp_path)

    assert (
        contest.points.draw_points("fashion", 5, seed=3) == points != contest.points.draw_points("fashion", 5, seed=4)
    )
    assert [point["arch"] for point in convolutional] == ["cnn"] * 3
    assert contest.points.read_points(tmp_path) == points
    given = [point.values for point in read_points(tmp_path / "points.csv")]
    assert [{name: text for name, text in row.items() if text} for row in given] == [
        {name: str(value) for name, value in point.items()} for point in points
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trials", "3"], "--trials and --arch are for --same-points"),
        (["tabular", "--same-points", "--arch", "cnn"], "--arch is for fashion"),
    ],
)
def test_an_option_of_another_kind_of_run_is_refused(words: list[str], message: str) -> None:
    command = [sys.executable, str(BENCHMARKS / "search.py"), *words]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)

    assert done.returncode == 2
    assert message in done.stderr


def test_optuna_and_hpo_train_the_same_points_each_to_its_last_epoch() -> None:
    command = [
        sys.executable,
        str(BENCHMARKS / "search.py"),
        "tabular",
        "--same-points",
        "--trials",
        "2",
        "--seeds",
        "0",
    ]

    done = subprocess.run(
        [*command, "--only", "optuna-2", "hpo"], capture_output=True, text=True, check=False, timeout=600
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "epochs of 40" in done.stdout
    rows = [line.split(" | ") for line in done.stdout.splitlines() if " | 0 | " in line]
    assert [(row[0], row[4]) for row in rows] == [("| optuna-2", "40"), ("| hpo", "40")]
    assert "times the wall time of hpo" in done.stdout
