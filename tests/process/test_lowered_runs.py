"""`hpo run` comes to its end when a limit is set below what has begun or is spent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from projects.launch import Hpo, finish, wait_for
from projects.service import invoke


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (["trials=3"], None),
        (["hours=0.00001"], "its 1e-05 hours are spent"),
        (["gpu_hours=0.00001", "trials=none"], "its 1e-05 device-hours are spent"),
    ],
    ids=["trials", "hours", "device-hours"],
)
def test_a_run_ends_when_its_limit_is_lowered(tmp_path: Path, changes: list[str], reason: str | None) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    file = hpo.study(
        "less",
        model={"class": "projects.nets:Line", "seconds": 0.2},
        epochs=9,
        pruner={"name": "asha", "min_epochs": 1},
        budget={"trials": 60},
        resources={"accelerator": "cpu", "slots": 2},
    )

    run = hpo.start("run", file)
    wait_for(lambda: sum(hpo.counts("less").values()) >= 6 and hpo.counts("less").get("paused", 0) >= 2)
    code, answer = invoke(hpo, "set", "less", *changes)
    begun = sum(hpo.counts("less").values())
    ended, output = finish(run, timeout=300)
    status = json.loads(invoke(hpo, "status", "less", "--json")[1])

    assert (code, ended) == (0, 0), answer + output
    assert "no other one begins" in answer
    assert (status["state"], status["reason"]) == ("done", reason)
    assert set(hpo.counts("less")) <= {"complete", "pruned"}
    assert sum(hpo.counts("less").values()) <= begun + 2  # that a slot had claimed at that moment
