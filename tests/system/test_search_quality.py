"""benchmarks/search_quality.py: what it counts, what it has recorded, and what it writes."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hpo.errors import HpoError, SpecError
from hpo.search.grid import grid_points
from hpo.search.simulate import Event

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NAMES = ("claims", "clock", "grid", "grids", "recording", "runs", "searchers", "tables")


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules of the benchmark, as its script imports them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return SimpleNamespace(**{name: importlib.import_module(f"replays.{name}") for name in NAMES})


def command(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(BENCHMARKS.parent)}
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "search_quality.py"), *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=600,
    )


def test_a_quick_run_writes_what_it_prints_and_goes_on_with_its_results(tmp_path: Path) -> None:
    readme, results = Path(shutil.copy(BENCHMARKS / "README.md", tmp_path)), tmp_path / "results.jsonl"

    done = command("--quick", "--write", "--readme", str(readme), "--results", str(results))

    assert done.returncode == 0, done.stderr
    text = readme.read_text(encoding="utf-8").partition("<!-- search_quality -->\n")[2]
    assert text.partition("<!-- /search_quality -->")[0].strip() == done.stdout.strip()
    assert "| `tpe + asha` | 2 | " in done.stdout
    assert "| `random` | 2 | " in done.stdout
    assert len(results.read_text(encoding="utf-8").splitlines()) == 4
    assert "| `tpe + asha` | 2 |\n" in done.stdout  # of two searches, two are the same in another process


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--searchers", "tpee + asha"], "'tpee + asha' is no searcher: sampler: 'tpee' is not known, did you mean"),
        (["--seeds", "0"], "should be positive"),
        (["record", "digits"], "record digits: should be record, and some of cnn"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_searched(words: list[str], message: str) -> None:
    done = command(*words)

    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_every_grid_has_all_points_of_its_space_and_they_take_little_room(replays: Any) -> None:
    files = list((BENCHMARKS / "replays").glob("*.npz"))

    assert {file.stem for file in files} == set(replays.grids.RECIPES)
    assert sum(file.stat().st_size for file in files) < 1_000_000
    for name, recipe in replays.grids.RECIPES.items():
        grid = replays.grid.grid_of(name)
        for trial, point in enumerate(grid_points(grid.space)):
            values, seconds = grid.curve(1)(point, trial)
            assert len(values) == grid.epochs
            assert all(0 <= value <= 1 for value in values)
            assert seconds > 0
            assert 0 <= grid.truth(point) <= grid.best
        assert not recipe.related or replays.grids.RECIPES[recipe.related].space == recipe.space


def test_a_recorded_grid_is_read_as_it_was_written(replays: Any, tmp_path: Path) -> None:
    space = replays.grids.RECIPES["mlp"].space
    points = list(grid_points(space))
    accuracy = np.random.default_rng(0).integers(10_001, size=(len(points), 2, 27, 2)) / 10_000
    recorded = {"accuracy": accuracy, "seconds": np.ones(len(points)), "parameters": np.arange(len(points))}

    replays.grid.save(tmp_path / "mlp.npz", space, recorded)
    grid = replays.grid.Grid("mlp", tmp_path)

    assert grid.curve(0)(points[7], 1) == (pytest.approx(accuracy[7, 1, :, 0]), 1.0)
    assert grid.truth(points[7]) == pytest.approx(accuracy[7, :, -3:, 0].mean())
    assert grid.tested(points[7], 5, trial=1, seed=0) == pytest.approx(accuracy[7, 1, 4, 1])
    assert grid.parameters(points[7]) == 7
    assert grid.training_seconds == 27


def test_a_grid_of_another_space_is_refused(replays: Any, tmp_path: Path) -> None:
    shutil.copy(BENCHMARKS / "replays" / "mlp.npz", tmp_path / "cnn.npz")

    with pytest.raises(SpecError, match=r"another space than replays/grids.py; record it: .* record cnn"):
        replays.grid.Grid("cnn", tmp_path)
    with pytest.raises(SpecError, match="is missing; record it"):
        replays.grid.Grid("table", tmp_path)


@pytest.mark.parametrize(
    ("name", "of_point", "weights"),
    [
        # 64 pixels, 16 units, 10 classes
        ("mlp", {"depth": 1, "log2_width": 4, "optimizer": "adam", "log10_lr": -2.0}, 65 * 16 + 17 * 10),
        # 20 columns, 16 units, 4 classes
        ("table", {"depth": 1, "log2_width": 4, "optimizer": "adam", "log10_lr": -2.0}, 21 * 16 + 17 * 4),
        # kernels of 3 x 3 for 4 channels, which are 4 x 4 after the pooling, 32 units, 10 classes
        (
            "cnn",
            {"depth": 1, "log2_width": 2, "batch_norm": False, "optimizer": "adam", "log10_lr": -2.0},
            10 * 4 + 65 * 32 + 33 * 10,
        ),
        # four gates of 32 units for two features, each with two biases; 6 classes
        (
            "lstm",
            {"cell": "lstm", "layers": 1, "log2_hidden": 5, "readout": "mean", "log10_lr": -1.5},
            4 * 32 * (2 + 32 + 2) + 33 * 6,
        ),
    ],
)
def test_a_point_is_trained_by_the_models_and_data_modules_of_the_project(
    replays: Any, name: str, of_point: dict[str, Any], weights: int
) -> None:
    recipe = replays.grids.RECIPES[name]
    point = next(point for point in grid_points(recipe.space) if of_point.items() <= point.items())

    recorded = replays.recording.record(recipe, [point])

    [accuracy] = recorded["accuracy"]
    assert (accuracy[:, -3:].mean(1) > accuracy[:, 0] + 0.05).all()  # it learns, with each seed, on both parts
    assert (accuracy[0] != accuracy[1]).any()
    assert recorded["parameters"].tolist() == [weights]
    assert (recorded["seconds"] > 0).all()


class Drawn:
    """A peer that trains two epochs of what it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.reports: list[tuple[int, int]] = []
        self.failed: list[int] = []

    def ask(self) -> tuple[int, Mapping[str, Any]]:
        self.asked += 1
        return self.asked - 1, {"x": self.asked % 3}

    def report(self, trial: int, epoch: int, value: float) -> bool:
        self.reports.append((trial, epoch))
        return epoch < 2

    def fail(self, trial: int) -> None:
        self.failed.append(trial)


def test_slots_of_another_tool_train_at_a_time_and_failures_are_told(replays: Any) -> None:
    peer, budget = Drawn(), replays.clock.Budget(epochs=9, slots=2, device_seconds=16.0, seed=0)

    def curve(params: dict[str, Any], trial: int) -> tuple[list[float], float]:
        return ([], 1.0) if params["x"] == 0 else ([0.5] * 9, float(params["x"]))

    events = [(event.at, event.trial, event.epoch) for event in replays.clock.searched(peer, curve, budget)]

    # Trials 0, 3, 6 take a second an epoch, 1 and 4 two, and 2 and 5 fail after one; each second is two device-seconds.
    assert events == [
        (2.0, 0, 1),
        (4.0, 1, 1),
        (4.0, 0, 2),
        (8.0, 1, 2),
        (8.0, 3, 1),
        (10.0, 3, 2),
        (12.0, 4, 1),
        (14.0, 6, 1),
        (16.0, 4, 2),
        (16.0, 6, 2),
    ]
    assert peer.failed == [2, 5]


def test_another_tool_has_the_time_that_ours_has(replays: Any) -> None:
    grid = replays.grid.grid_of("mlp")
    budget = replays.clock.Budget(grid.epochs, 4, 3 * grid.training_seconds, 1)

    ours, optuna = (
        list(replays.searchers.searcher_of(name)(grid.space, grid.curve(1), budget)) for name in ("random", "optuna")
    )

    for events in (ours, optuna):
        times = [event.at for event in events]
        assert times == sorted(times)
        assert 2 * grid.training_seconds < times[-1] <= 3 * grid.training_seconds
        trained = sum(grid.curve(1)(dict(event.params), event.trial)[1] for event in events)
        assert trained == pytest.approx(3 * grid.training_seconds, rel=0.1)


def test_a_tool_that_is_not_installed_is_left_out_by_name(replays: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays.searchers, "PEERS", {"other": ("a_package_that_nobody_has", None)})

    with pytest.raises(HpoError, match="other is not installed"):
        replays.searchers.searcher_of("other")


def test_the_choice_is_the_trial_with_the_best_epoch_so_far(replays: Any) -> None:
    grid = replays.grid.grid_of("mlp")
    poor, good = sorted(grid_points(grid.space), key=grid.truth)[:: len(grid) - 1]
    events = [
        Event(1.0, 0, 1, 0.3, poor),
        Event(2.0, 1, 1, 0.2, good),
        Event(3.0, 1, 2, 0.6, good),
        Event(4.0, 0, 2, 0.5, poor),
    ]

    first, second = replays.runs.choices(grid, events, 1)

    assert first.at == pytest.approx(1 / grid.training_seconds)
    assert first.regret == pytest.approx(grid.best - grid.truth(poor))
    assert (second.regret, second.tested) == (0.0, grid.tested(good, 2, trial=1, seed=1))


def runs_of(replays: Any, searcher: str, *seeds: list[tuple[float, float, float]]) -> list[Any]:
    """A run a seed of (at, regret, tested)."""
    runs = replays.runs
    return [
        runs.Run(runs.Plan("mlp", searcher, 4, seed, 20.0), tuple(runs.Choice(*choice) for choice in choices))
        for seed, choices in enumerate(seeds, start=1)
    ]


def test_the_time_to_a_regret_is_that_of_the_median_over_the_seeds(replays: Any) -> None:
    runs = runs_of(
        replays, "a", [(1, 0.2, 0), (3, 0.0, 0)], [(1, 0.2, 0), (5, 0.1, 0)], [(1, 0.2, 0), (2, 0.02, 0), (9, 0.0, 0)]
    )

    assert replays.tables.until(runs, 0.1).value == 5 - 2  # after 3, two of three seeds have it
    assert replays.tables.until(runs, 0.0).value == 9
    assert replays.tables.until(runs, -1.0).text(1, most=20) == "> 20 (> 20 to > 20)"


def test_the_test_accuracy_is_compared_seed_by_seed(replays: Any) -> None:
    ours = runs_of(replays, "a", *([(1.0, 0.1, 0.90 + seed / 100)] for seed in range(5)))
    theirs = runs_of(replays, "b", *([(1.0, 0.1, 0.89 + seed / 100)] for seed in range(5)))

    assert replays.tables.difference(ours, theirs).text(2, sign="+") == "+1.00 (+1.00 to +1.00)"
    # Each seed alone differs by more than that from the others.
    assert replays.tables.bootstrapped([run.at(20).tested for run in ours], replays.tables.median).low < 0.92


def test_larger_models_fail_where_they_do_not_fit_into_memory(replays: Any) -> None:
    share = replays.claims.infeasible_share("mlp", "random", slots=4, seed=1)

    assert 0.3 < share < 0.6  # of a random search, about as many as of the grid


def test_a_hypervolume_is_the_area_below_the_front(replays: Any) -> None:
    area = replays.claims._hypervolume

    assert area([(1.0, 3.0), (2.0, 2.0), (0.5, 1.0), (-1.0, 9.0)]) == 1 * 3 + 1 * 2
    assert area([]) == 0


def test_a_front_grows_with_the_time_and_stays_within_that_of_the_grid(replays: Any) -> None:
    for searcher in (replays.claims.FRONT, replays.searchers.BASIS):
        shares = replays.claims.hypervolumes("mlp", searcher, slots=4, seed=1, trainings=5, marks=5)

        assert shares == sorted(shares)
        assert 0 <= shares[0] < shares[-1] <= 1


def test_proposals_that_differ_in_another_process_are_found(
    replays: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unseeded.py").write_text(
        "import optuna\n\n\nclass Unseeded(optuna.samplers.RandomSampler):\n"
        "    def __init__(self) -> None:\n        super().__init__()\n"
    )
    monkeypatch.chdir(tmp_path)
    same = replays.claims.same_proposals

    assert same("mlp", "tpe + asha", slots=4, seeds=[1, 2], trainings=2) == 2
    assert same("mlp", "unseeded:Unseeded + asha", slots=4, seeds=[1, 2], trainings=2) == 0
