"""Trials whose modules use a logger: their files are in the trials' folders, and go with these."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from projects.launch import PROJECT, Hpo

from hpo.ipc.fork_server import ForkServer
from hpo.results.trial import TrialRecord
from hpo.service.assembly import Workspace, begin
from hpo.service.delete import delete_study
from hpo.store import Store
from hpo.study.study_file import read_study


def search(folder: Path, server: ForkServer, **keys: Any) -> list[TrialRecord]:
    """The trials of the study `written`, in a store and artifacts in this folder."""
    hpo = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    plain = {"model": "projects.kept:Writing", "data": "projects.kept:Named", "space": {"lr": [0.01, 0.1]}}
    file = hpo.study("written", **{**plain, "budget": {"trials": 2}, **keys})
    with Store.create(hpo.url) as store:
        begin(Workspace(server, PROJECT, store, folder / "art"), *read_study(file)).worker.run_until_done()
    return hpo.trials("written")


def test_what_a_module_logs_is_in_the_folder_of_its_trial_and_goes_with_it(tmp_path: Path, server: ForkServer) -> None:
    trials = search(tmp_path, server)

    assert [trial.state for trial in trials] == ["complete"] * 2, [trial.error for trial in trials]
    for trial in trials:
        folder = Path(trial.checkpoint or "").parent
        with (folder / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [float(row["val_loss"]) for row in rows if row["val_loss"]] == pytest.approx(
            [metrics["val_loss"] for _, metrics in trial.curve]
        )
        assert {float(row["lr-SGD"]) for row in rows if row["lr-SGD"]} == {trial.params["lr"]}
        assert "by_experiment" in rows[0]
        assert "by_hand: 1" in (folder / "hparams.yaml").read_text()
        assert [path.name for path in (folder / "checkpoints").iterdir()] == ["own.ckpt"]
    with Store.open(f"sqlite:///{tmp_path}/hpo.db") as store:
        delete_study(store, "written", artifacts=tmp_path / "art")
    assert not list((tmp_path / "art").rglob("*.*"))


def test_a_study_may_want_no_logger(tmp_path: Path, server: ForkServer) -> None:
    trials = search(tmp_path, server, model="projects.nets:Line", logger="none")

    assert [trial.state for trial in trials] == ["complete"] * 2
    assert not list((tmp_path / "art").rglob("metrics.csv"))


def test_tensorboard_has_each_trial_as_a_run(tmp_path: Path, server: ForkServer) -> None:
    trials = search(tmp_path, server, model="projects.nets:Line", logger="tensorboard")

    assert [trial.state for trial in trials] == ["complete"] * 2, [trial.error for trial in trials]
    folders = [Path(trial.checkpoint or "").parent for trial in trials]
    assert [len(list(folder.glob("events.out.tfevents.*"))) for folder in folders] == [1, 1]
