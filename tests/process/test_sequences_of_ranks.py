"""Trials of two processes, one after the other and two at a time: pruned, killed, out of memory, interrupted."""

from __future__ import annotations

import json
import re
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from projects.launch import Hpo, finish, left_of, wait_for, watch

FATES = ("first", "hopeless", "killed", "raises", "second", "memory", "second", "hopeless", "first", "killed") * 2


@pytest.mark.parametrize("slots", [1, 2])
def test_twenty_trials_of_two_ranks_end_each_in_its_own_way_through_a_drain(tmp_path: Path, slots: int) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    trace = tmp_path / "trace"
    trace.mkdir()
    file = hpo.study(
        "pairs",
        model={"class": "projects.ranks:Numbered", "trace": str(trace), "fates": ",".join(FATES)},
        objective={"metric": "score", "direction": "minimize"},
        epochs=3,
        sampler="grid",
        space={"number": {"low": 0, "high": len(FATES) - 1}},
        first_trial="sampled",
        pruner={"name": "threshold", "upper": 10.0},
        budget={"trials": len(FATES)},
        retries={"crash": 0, "oom": 0},
        resources={"devices_per_trial": 2, "accelerator": "cpu"},
    )

    process = hpo.start("run", file, "--slots", slots)
    seen = watch(process)
    wait_for(lambda: len(hpo.trials("pairs")) > 6)
    process.send_signal(signal.SIGTERM)
    finish(process)
    process = hpo.start("run", file, "--slots", slots)
    seen_again = watch(process)
    code, output = finish(process)

    assert code == 0, output
    records = {record.params["number"]: record for record in hpo.trials("pairs")}
    causes = Counter((FATES[number], record.state, record.cause) for number, record in records.items())
    assert causes == {
        ("first", "complete", None): 4,
        ("second", "complete", None): 4,
        ("hopeless", "pruned", None): 4,
        ("killed", "failed", "killed: SIGKILL"): 4,
        ("raises", "failed", "error: ValueError"): 2,
        ("memory", "failed", "out of memory"): 2,
    }
    assert left_of(seen) == left_of(seen_again) == []


def test_each_rank_goes_on_with_its_own_random_numbers(tmp_path: Path) -> None:
    def train(name: str, *, pauses: bool) -> dict[tuple[int, int], float]:
        hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
        trace = tmp_path / f"{name}.jsonl"
        file = hpo.study(
            name,
            model={"class": "projects.ranks:Drawing", "trace": str(trace), "seconds": 0.3},
            epochs=6,
            budget={"trials": 1},
            resources={"devices_per_trial": 2, "accelerator": "cpu"},
        )
        process = hpo.start("run", file, "--slots", 1)
        if pauses:
            wait_for(lambda: trace.exists() and trace.read_text().count("\n") > 4)
            process.send_signal(signal.SIGTERM)
            finish(process)
            process = hpo.start("run", file, "--slots", 1)
        code, output = finish(process)
        assert code == 0, output
        [record] = hpo.trials(name)
        assert record.attempts == (2 if pauses else 1)
        lines = [json.loads(line) for line in trace.read_text().splitlines()]
        assert len(lines) == 2 * 6
        return {(line["rank"], line["epoch"]): line["drawn"] for line in lines}

    undisturbed = train("undisturbed", pauses=False)

    assert len(set(undisturbed.values())) == 2 * 6
    assert train("resumed", pauses=True) == undisturbed


def test_a_rank_whose_process_fails_ends_the_others_within_seconds(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    file = hpo.study(
        "waiting",
        model={"class": "projects.ranks:FailsBesideAWait", "trace": str(tmp_path)},
        epochs=5,
        budget={"trials": 1},
        resources={"devices_per_trial": 2, "accelerator": "cpu"},
    )

    process = hpo.start("run", file, "--slots", 1)
    wait_for(lambda: (tmp_path / "failed").exists())
    since = time.monotonic()
    code, output = finish(process)

    assert time.monotonic() - since < 10
    assert code == 1, output
    [record] = hpo.trials("waiting")
    assert record.cause == "error: ValueError"


def test_the_first_cause_is_told_although_the_other_rank_reports_earlier(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    resources = {"devices_per_trial": 2, "accelerator": "cpu"}
    model = {"class": "projects.ranks:ReportsLate", "fails_at": 3}
    file = hpo.study("late", model=model, epochs=5, budget={"trials": 1}, resources=resources)
    at_once = hpo.study("at-once", model=model | {"fails_at": 1}, epochs=5, resources=resources)

    code, output = hpo.run("run", file, "--slots", 1)
    checked, problem = hpo.run("check", at_once)

    assert (code, checked) == (1, 2), output + problem
    assert "one batch failed: ValueError: rank 1 alone cannot go on" in problem
    [record] = hpo.trials("late")
    assert record.cause == "error: ValueError"
    assert "rank 1 alone cannot go on" in (record.error or "")


def test_a_step_is_said_to_learn_from_the_batches_of_all_devices(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    resources = {"devices_per_trial": 2, "accelerator": "cpu"}
    ours = hpo.study(
        "ours", model="models.dnn:DNN", data={"class": "models.data.digits:Digits", "batch_size": 64},
        objective={"metric": "val_loss", "direction": "minimize"}, resources=resources,
    )  # fmt: skip
    small = hpo.study(
        "small", model="models.dnn:DNN", data={"class": "models.data.digits:Digits", "batch_size": 1},
        objective={"metric": "val_loss", "direction": "minimize"}, resources=resources,
    )  # fmt: skip
    theirs = hpo.study("theirs", resources=resources)

    said = {file.stem: hpo.run("check", file)[1] for file in (ours, theirs, small)}

    assert re.search(r"a step learns from 64 samples: a batch of 32 on each of 2 devices", said["ours"])
    assert re.search(r"a step learns from 16 samples: a batch of 8 on each of 2 devices", said["theirs"])
    assert "a batch of 1 cannot be divided among 2 devices" in said["small"]
