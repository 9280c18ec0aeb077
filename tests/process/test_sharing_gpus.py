"""Trials that share simulated GPUs: real workers and processes, and the CPU in place of each GPU."""

from __future__ import annotations

import itertools
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from projects.launch import Hpo
from sqlalchemy import select

from hpo.queue.budget import spent_of
from hpo.store import Store
from hpo.store.tables import hpo_attempts
from hpo.study.objectives import Objectives
from hpo.study.states import Direction


class Shared:
    """A study whose trials share simulated GPUs."""

    def __init__(self, folder: Path, model: str, per_device: int | str, *, epochs: int, trials: int, gpus: str) -> None:
        self.folder = folder
        simulated = {"HPO_SIMULATED_GPUS": f"{zlib.crc32(bytes(folder)):x}:{gpus}", "HPO_CORES": "4"}
        self.hpo = Hpo(folder, f"sqlite:///{folder}/hpo.db", environment=simulated)
        file = self.hpo.study(
            "shared",
            model={"class": f"projects.sharing:{model}", "folder": str(folder)},
            epochs=epochs,
            budget={"trials": trials},
            resources={"trials_per_device": per_device},
            retries={"oom": 0},
        )
        self.code, self.output = self.hpo.run("run", file)

    def most(self, gpu: str) -> int:
        """Trials that trained on the GPU at a time."""
        lines = [line.split() for line in (self.folder / f"gpu-{gpu}").read_text().splitlines()]
        moments = sorted((float(at), int(step)) for at, step in lines)
        return max(itertools.accumulate(step for _, step in moments))

    def attempts(self) -> list[Any]:
        with Store.open(self.hpo.url) as store, store.read() as connection:
            return list(connection.execute(select(hpo_attempts).order_by(hpo_attempts.c.attempt_id)))


def test_trials_share_gpus_by_twos_and_count_by_halves(tmp_path: Path) -> None:
    shared = Shared(tmp_path, "Shared", 2, epochs=4, trials=12, gpus="2x16")

    assert shared.code == 0, shared.output
    assert "4 slots" in shared.output
    assert "the GPUs are simulated" in shared.output
    assert [record.state for record in shared.hpo.trials("shared")] == ["complete"] * 12
    assert (shared.most("0"), shared.most("1")) == (2, 2)
    attempts = shared.attempts()
    assert {attempt.device for attempt in attempts} == {"gpu 0", "gpu 1"}
    assert all(0.45 < attempt.share <= 1 for attempt in attempts)
    used = sum(attempt.share * attempt.seconds for attempt in attempts)
    with Store.open(shared.hpo.url) as store, store.read() as connection:
        assert spent_of(connection, 1, Objectives((Direction.MINIMIZE,))).gpu_hours == pytest.approx(used / 3600)
    assert (
        used <= 2 * (max(attempt.ended for attempt in attempts) - min(attempt.started for attempt in attempts)) * 1.05
    )
    assert all(attempt.memory > 50 * 2**20 for attempt in attempts)


def test_where_one_trial_fills_the_gpu_there_is_one_at_a_time(tmp_path: Path) -> None:
    shared = Shared(tmp_path, "Filling", "auto", epochs=16, trials=4, gpus="1x64")

    assert shared.code == 0, shared.output
    assert re.search(r"2 trials at a time train [01]\.\d\d times as fast as 1: 1 from now on", shared.output)
    assert shared.most("0") == 2
    assert [record.state for record in shared.hpo.trials("shared")] == ["complete"] * 4


def test_trials_that_wait_for_something_else_are_packed(tmp_path: Path) -> None:
    shared = Shared(tmp_path, "Shared", "auto", epochs=16, trials=8, gpus="1x64")

    assert shared.code == 0, shared.output
    assert "3 trials at a time are tried" in shared.output
    assert shared.most("0") >= 3


@pytest.mark.parametrize("per_device", [2, "auto"])
def test_a_trial_whose_memory_runs_out_beside_another_is_trained_again(tmp_path: Path, per_device: int | str) -> None:
    shared = Shared(tmp_path, "Greedy", per_device, epochs=6, trials=4, gpus="1x64")

    assert shared.code == 0, shared.output
    records = shared.hpo.trials("shared")
    assert [record.state for record in records] == ["complete"] * 4
    [again] = [record for record in records if record.attempts > 1]
    assert again.causes[0] == "out of memory beside 1 other trial on gpu 0"
    assert "at most 1 trial at a time from now on" in shared.output


def test_the_memory_of_a_trial_is_shown(tmp_path: Path) -> None:
    shared = Shared(tmp_path, "Shared", 1, epochs=1, trials=1, gpus="1x16")

    [record] = shared.hpo.trials("shared")
    page = shared.hpo.run("show", "shared", 0)[1]

    assert record.memory is not None
    assert record.memory > 50 * 2**20
    assert f"{record.memory / 2**20:,.0f} MiB" in page
