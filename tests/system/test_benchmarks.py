"""The experiments of benchmarks/reliability.py that no other test runs in small, as somebody would start them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

RELIABILITY = Path(__file__).parents[2] / "benchmarks" / "reliability.py"


def experiment(*arguments: str, **environment: str) -> list[list[str]]:
    """The cells of the table's rows."""
    command = [sys.executable, str(RELIABILITY), *arguments]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.needs("pgbouncer")
def test_workers_share_the_connections_of_a_pooler_in_transaction_mode() -> None:
    sizes = ("--workers", "12", "--connections", "3", "--seconds", "6", "--epoch-seconds", "0.5")

    [[workers, trials, _, _, _, errors, lost, connections, _]] = experiment("fleet", *sizes)

    assert (workers, errors, lost) == ("12", "0", "0")
    assert int(trials) > 0
    assert int(connections) <= 4  # and one that may have looked after the database


def test_a_trial_costs_its_store_no_more_than_is_promised() -> None:
    rows = experiment("store", "--trials", "3", "--sizes", "40", "--timed", "8", "--workers", "2")

    counted = [int(row[1]) for row in rows if "most statements" in row[0]]
    assert len(counted) == 2
    assert max(counted) <= 40
    shared = [row[1].split(", ") for row in rows if "2 workers at once: statements, commits" in row[0]]
    assert len(shared) == 2
    assert all(int(statements) <= 40 and int(commits) <= 15 for statements, commits in shared)


def test_a_worker_that_dies_at_any_statement_leaves_exact_totals() -> None:
    rows = experiment("crashes", "--runs", "4", "--seed", "1")

    assert [row[:2] + row[3:] for row in rows] == [
        [kind, "4", "12 of 12", "0", "0", "0"] for kind in ("sqlite", "postgresql")
    ]
    assert all(int(row[2]) > 0 for row in rows)


def test_a_paused_pooler_costs_no_lease() -> None:
    shorter = {"HPO_TIMING": "poll=0.5,heartbeat=1.5,lease=5"}

    [row] = experiment("stalls", "--kinds", "pgbouncer", "--rounds", "1", "--longest", "8", "--seed", "2", **shorter)

    assert row[-2:] == ["0", "0"]


def test_gpus_are_handed_out_once_while_workers_are_killed() -> None:
    rows = experiment("devices", "--hand-outs", "40", "--kill-every", "15", "--store", "sqlite")

    assert rows[0][1] == "40"
    assert [row[1] for row in rows[3:]] == ["0"] * 4


def test_trials_of_two_processes_begin_at_once() -> None:
    rows = experiment("ranks", "--trials", "4")

    assert rows[0][1] == "4"
    assert len(rows) == 3


def test_a_signal_to_all_processes_costs_no_epoch() -> None:
    rows = experiment("signals", "--rounds", "1", "--epochs", "4")

    assert [row[1] for row in rows] == ["1", "1"]
    assert [row[4:] for row in rows] == [["0", "4 of 4", "0"]] * 2


def test_tiny_trials_leave_nothing_behind() -> None:
    rows = experiment("tiny", "--trials", "60")

    assert rows[0][1] == "60"
    assert len(rows) == 7


def test_a_killed_finalize_ends_with_the_same_numbers() -> None:
    rows = experiment("finalize", "--study", "quickstart", "--trials", "3", "--reruns", "2", "--rounds", "1")

    assert rows[0][1] == rows[0][2] == rows[1][2]
    assert [row[4] for row in rows] == ["the same"] * 2


@pytest.mark.needs("slurmctld", "slurmd", "slurm-client", "munge")
def test_jobs_that_are_preempted_or_out_of_time_lose_no_epoch() -> None:
    rows = experiment("slurm", "--trials", "10")

    assert rows[1][1] == rows[2][1] == "10"
    assert int(rows[6][1]) > 0


def test_nodes_of_ray_that_are_killed_or_drained_lose_no_trial() -> None:
    rows = experiment("ray", "--trials", "10", "--only", "kill", "drain", "--hand-back-seconds", "60")

    assert [row[2] for row in rows] == ["10 of 10"] * 2
    assert [row[4] for row in rows] == ["0"] * 2
    assert rows[1][5] == "0"


def test_trials_that_move_through_an_object_store_lose_no_epoch_at_a_drain() -> None:
    rows = experiment("moves", "--trials", "6", "--rounds", "0")

    assert [row[1] for row in rows if "complete" in row[0]] == ["6", "6"]
    assert [row[1] for row in rows if "drains: epochs" in row[0]] == ["0"]


def test_simple_models_are_scored_on_the_split_of_a_search() -> None:
    command = [sys.executable, str(RELIABILITY.with_name("rivals.py")), "--tasks", "diabetes", "--seeds", "1"]

    done = subprocess.run([*command, "--rivals-only"], capture_output=True, text=True, timeout=600)

    assert done.returncode == 0, done.stdout + done.stderr
    header, _, row, *_ = [[cell.strip() for cell in line.split("|")] for line in done.stdout.splitlines()]
    found = dict(zip(header[4:-1], row[4:-1], strict=True))
    scores = {model: float(cell.strip("*").split("*")[0].split(" ")[0]) for model, cell in found.items()}
    assert scores["linear"] < scores["majority or mean"]
    assert min(scores.values()) < 60 < scores["majority or mean"]


def test_a_large_table_is_predicted_as_the_table_says() -> None:
    command = [sys.executable, str(RELIABILITY.with_name("predict.py")), "--rows", "3000", "--columns", "8"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines()[2:]]
    assert [row[:3] for row in rows] == [["| standard", "3,000", "8"], ["| quantile", "3,000", "8"]]


def test_many_requests_at_once_are_answered_without_an_error_and_take_no_more_memory() -> None:
    command = [sys.executable, str(RELIABILITY.with_name("serving.py")), "--trials", "60"]
    done = subprocess.run([*command, "--at-once", "200", "--seconds", "4"], capture_output=True, text=True, timeout=600)

    assert done.returncode == 0, done.stderr
    cells = {row.split(" | ")[0].strip("| "): row.split(" | ")[1].strip("| ") for row in done.stdout.splitlines()[2:]}
    answers, failed = cells["200 requests at once for 4 s: answers, and those that failed"].split(", ")[-2:]
    before, *parts = (
        int(text.removesuffix(" MiB")) for text in cells["memory before, and after each quarter"].split(", ")
    )
    assert int(answers) >= 200
    assert int(failed) == 0
    assert max(parts) - before < 50


def test_the_check_of_a_gpu_runs_to_its_end_without_one_and_says_what_it_left_out() -> None:
    done = subprocess.run(
        [sys.executable, RELIABILITY.with_name("gpu.py"), "--minutes", "3"], capture_output=True, text=True, timeout=300
    )

    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    states = {row[0].removeprefix("| "): row[1] for row in rows}
    assert done.returncode == 0, done.stdout + done.stderr
    assert states["forks"] == states["settings"] == states["listing"] == "ok"
    if not torch.cuda.is_available():
        assert states["tests/gpu"] == states["steps"] == states["failed captures"] == "left out"
