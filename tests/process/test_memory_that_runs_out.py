"""Trials whose memory runs out: the next attempt accumulates smaller batches, and `hpo check` tells before."""

from __future__ import annotations

from pathlib import Path

import pytest
from projects.launch import Hpo

BULKY = {"class": "projects.sharing:Bulky"}


@pytest.fixture
def hpo(tmp_path: Path) -> Hpo:
    return Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")


def test_the_next_attempt_takes_smaller_batches_to_steps_of_the_same_size(tmp_path: Path, hpo: Hpo) -> None:
    file = hpo.study(
        "bulky",
        model={**BULKY, "folder": str(tmp_path), "most": 4},
        space={"width": [1, 2]},
        data={"class": "projects.nets:Points", "batch_size": 16, "samples": 32},
        budget={"trials": 2},
        retries={"oom": 2, "accumulate": True},
    )

    code, output = hpo.run("run", file, "--slots", 1)

    assert code == 0, output
    records = hpo.trials("bulky")
    assert [record.state for record in records] == ["complete"] * 2
    assert [record.causes for record in records] == [("out of memory", "out of memory", "complete")] * 2
    assert {record.config["parts"] for record in records} == {4}
    assert set((tmp_path / "sizes.txt").read_text().splitlines()) == {"4 4"}
    assert {record.config["data"]["batch_size"] for record in records} == {16}
    assert "reproduced bit by bit" in hpo.run("replay", "bulky", 0)[1]
    assert "trial 0: 4 batches of a quarter of the size make a step, since memory ran out" in output


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"epochs": None, "steps": 8}, "retries.accumulate: takes more batches for a step, and the study has steps"),
        ({"retries": {"oom": 0, "accumulate": True}}, "retries.accumulate: is for the attempt after memory ran out"),
        ({"data": "projects.ranks:Fixed"}, "retries.accumulate: needs an argument batch_size of the data or the model"),
    ],
)
def test_accumulation_that_would_do_nothing_is_refused(hpo: Hpo, keys: dict[str, object], message: str) -> None:
    code, output = hpo.run("check", hpo.study("bulky", **{"retries": {"oom": 1, "accumulate": True}, **keys}))

    assert code == 2
    assert message in output


def test_a_check_tells_what_the_largest_configuration_needs(tmp_path: Path, hpo: Hpo) -> None:
    fits = hpo.study("fits", model={**BULKY, "folder": str(tmp_path), "most": 1000})
    is_too_large = hpo.study("large", model={**BULKY, "folder": str(tmp_path), "most": 10})

    code, output = hpo.run("check", fits)
    code_of_large, output_of_large = hpo.run("check", is_too_large)

    assert (code, code_of_large) == (0, 0)
    assert "MiB of the largest configuration (width=8)" in output
    assert "the largest configuration (width=8) cannot be trained" in output_of_large
    assert "CUDA out of memory" in output_of_large


def test_a_check_tells_that_so_many_trials_may_not_fit(tmp_path: Path) -> None:
    gpus = {"HPO_SIMULATED_GPUS": f"{tmp_path.name}:1x0.25", "HPO_CORES": "4"}
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db", environment=gpus)

    code, output = hpo.run("check", hpo.study("four", resources={"trials_per_device": 4}))

    assert code == 0, output
    assert "4 of these at a time may run out of the 256 MiB that are here" in output
