"""What `hpo check` calls fine trains: it tries a batch on all devices of a trial, with its strategy and sampler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from projects.launch import Hpo

TWO = {"accelerator": "cpu", "devices_per_trial": 2, "slots": 1}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a parameter without a gradient": (
        {"model": "projects.nets:Unused"},
        {"strategy": "ddp_find_unused_parameters_true"},
        "resources: {strategy: ddp_find_unused_parameters_true}",
    ),
    "a batch sampler of one's own": (
        {"data": "projects.nets:OwnBatches"},
        {"use_distributed_sampler": False},
        "resources: {use_distributed_sampler: false}",
    ),
    "a strategy of GPUs": (
        {"resources": {**TWO, "strategy": "fsdp"}},
        {"strategy": "ddp"},
        "resources: {strategy: ddp}",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_advice_of_a_refusal_makes_the_study_train(tmp_path: Path, case: str) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    keys, repair, advice = CASES[case]
    here.study("two", **{"resources": TWO, **keys})

    refused, output = here.run("check", "two.yaml")
    here.study("two", **{**keys, "resources": TWO | repair})
    fine, shown = here.run("check", "two.yaml")
    code, trained = here.run("run", "two.yaml", "--trials", 1)

    assert refused == 2
    assert f"In the study file: {advice}" in output
    assert (fine, code) == (0, 0), shown + trained
    assert here.counts("two") == {"complete": 1}


def test_what_goes_wrong_without_an_error_on_several_devices_is_told(tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    here.study("two", resources=TWO)
    here.study("stream", resources=TWO, data="projects.nets:Stream")
    here.study("one", data="projects.nets:Stream")

    two, stream, one = (here.run("check", f"{name}.yaml")[1] for name in ("two", "stream", "one"))

    assert "it logs 'val_loss' without sync_dist: its value is of the first of 2 devices" in two
    assert "each of the 2 devices reads all of it" in stream
    assert "each of the 2 devices reads all of it" not in two
    assert "sync_dist" not in one
    assert "IterableDataset" not in one


def test_ranks_may_end_before_the_first(tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    here.study("two", model="projects.nets:SlowToEnd", resources=TWO)

    code, output = here.run("check", "two.yaml")

    assert code == 0, output


@pytest.mark.parametrize("verb", ["check", "run"])
def test_what_fails_at_the_end_of_an_epoch_is_found_before_the_trials(tmp_path: Path, verb: str) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    here.study("own", model="projects.nets:Misnamed")

    code, output = here.run(verb, "own.yaml")

    assert code == 2, output
    assert "model: one batch failed: " in output
    assert "`ModelCheckpoint(monitor='val_accuracy')` could not find the monitored key" in output
    assert "Traceback" not in output


def test_more_devices_than_the_machine_has_cores_are_refused(tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    here.study("many", resources={"accelerator": "cpu", "devices_per_trial": 640})

    code, output = here.run("check", "many.yaml")

    assert code == 2
    assert "resources: devices_per_trial: 640 does not fit on" in output


def test_a_batch_that_takes_too_long_is_refused(tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    here.study("slow", model={"class": "projects.nets:Line", "seconds": 600}, budget={"stall_minutes": 0.05})

    code, output = here.run("check", "slow.yaml")

    assert code == 2
    assert "model: one batch has taken longer than 0.05 minutes" in output


def test_a_check_tells_of_a_precision_that_the_device_lacks(tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    here.study("half", resources={"accelerator": "cpu", "precision": 16})

    code, output = here.run("check", "half.yaml")

    assert code == 0, output
    assert "precision 16-mixed is not computed on this device: Lightning takes bf16-mixed in its place" in output
