"""A study that ends at its target."""

from __future__ import annotations

import json
from pathlib import Path

from projects.launch import Hpo
from projects.service import invoke


def test_a_run_ends_at_its_target_and_continues_when_that_is_raised(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    budget = {"trials": 6, "target": 1e9, "gpu_hours": 5}
    file = hpo.study("aimed", budget=budget, model={"class": "projects.nets:Line", "seconds": 0.1})

    code, output = hpo.run("run", file, "--slots", 2)
    first = hpo.counts("aimed")
    _, status_line = invoke(hpo, "status", "aimed")
    status = json.loads(invoke(hpo, "status", "aimed", "--json")[1])
    invoke(hpo, "set", "aimed", "target=-1")
    again, more = hpo.run("run", file, "--slots", 2)  # the file's own target is what it was

    assert code == 0, output
    assert set(first) <= {"complete", "pruned", "failed"}
    assert 1 <= sum(first.values()) <= 2  # one, and what trained beside it
    assert "aimed: done (the target 1e+09 is reached: " in status_line
    assert status["state"] == "done"
    assert status["budget"]["trials"] == {"target": 6, "spent": sum(first.values())}
    assert status["budget"]["target"] == {"target": 1e9, "spent": status["best"]["value"]}
    assert status["budget"]["gpu_hours"]["target"] == 5
    assert 0 <= status["budget"]["gpu_hours"]["spent"] < 1
    assert again == 0, more
    assert sum(hpo.counts("aimed").values()) == 6
    assert set(hpo.counts("aimed")) <= {"complete", "pruned"}
