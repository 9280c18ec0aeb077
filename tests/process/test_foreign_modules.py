"""Modules from outside the project: no annotations, plain arguments, hooks of their own; searched by the file alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import pytest
import torch
from projects.launch import Hpo

from hpo.errors import SpecError
from hpo.ipc.fork_server import ForkServer
from hpo.results.trial import TrialRecord
from hpo.service.assembly import Workspace, begin
from hpo.store import Store
from hpo.study.study_file import read_study

FOREIGN = Path(__file__).parents[1] / "foreign"


class Searched(Protocol):
    """The trials of a study of two epochs, unless the keys of its file say otherwise."""

    def __call__(self, name: str, **keys: Any) -> list[TrialRecord]: ...


@pytest.fixture
def searched(tmp_path: Path, server: ForkServer) -> Searched:
    """Does what `hpo run` does, below one server for all tests: to import torch takes seconds.

    test_weights.py runs the command itself, with this folder.
    """
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")

    def search(name: str, **keys: Any) -> list[TrialRecord]:
        file = hpo.study(name, **{"data": "unruly:RingsData", "budget": {"trials": 3}, **keys})
        before = files_of(FOREIGN)
        with Store.create(hpo.url) as store:
            workspace = Workspace(server, FOREIGN, store, tmp_path / "art")
            begin(workspace, *read_study(file)).worker.run_until_done()
        # what they write by themselves stays in the trials' folders
        assert files_of(FOREIGN) == before
        return hpo.trials(name)

    return search


def files_of(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


def test_a_module_that_overrides_hooks_freely_is_searched(searched: Searched) -> None:
    trials = searched(
        "hooked",
        model="unruly:Hooked",
        data={"class": "unruly:RingsData", "num_workers": 2},
        objective={"metric": "val_acc", "direction": "maximize"},
        space={
            "hidden": {"low": 4, "high": 32, "log": True},
            "lr": {"low": 1e-3, "high": 0.1, "log": True},
            "dropout": {"low": 0.0, "high": 0.5},
            "schedule": ["plateau", "cycle"],
            "batch_size": [16, 32],
        },
        budget={"trials": 4},
    )

    assert [trial.state for trial in trials] == ["complete"] * 4, [trial.error for trial in trials]
    assert {trial.params["schedule"] for trial in trials} == {"plateau", "cycle"}
    for trial in trials:
        metrics = trial.curve[-1][1]
        assert {"train_loss_step", "train_loss_epoch", "train_acc", "val_loss_epoch", "val_acc"} <= metrics.keys()
        assert metrics["epochs_counted"] == 2
        assert trial.config["executor"] == "lean"
        assert trial.config["model"]["hidden"] == trial.params["hidden"]
        assert trial.config["data"] == {
            "class": "unruly:RingsData",
            "batch_size": trial.params["batch_size"],
            "num_workers": 2,
            "length": 128,
        }
    model = trials[0].load_model(project=FOREIGN)
    assert model(torch.zeros(3, 2)).shape == (3, 2)


def test_several_optimizers_by_hand_are_searched(searched: Searched) -> None:
    trials = searched(
        "two-players",
        model={"class": "unruly:TwoPlayers", "strength": 0.2},
        space={"width": [4, 16], "lr": {"low": 1e-3, "high": 0.1}, "lr_adversary": {"low": 1e-3, "high": 0.1}},
    )

    assert [trial.state for trial in trials] == ["complete"] * 3, [trial.error for trial in trials]
    assert all(trial.curve[-1][1]["val_loss"] < 1 for trial in trials)
    assert {"loss_step", "loss_epoch", "val_loss"} <= trials[0].curve[0][1].keys()
    because = "TwoPlayers optimises manually (automatic_optimization is False)"
    assert {trial.config["executor"] for trial in trials} == {f"lightning, because {because}"}


def test_a_demanded_executor_that_cannot_be_is_refused_before_the_first_trial(searched: Searched) -> None:
    with pytest.raises(SpecError, match=r"early.yaml:\d+: executor: lean is not possible, because TwoPlayers optim"):
        searched("early", model="unruly:TwoPlayers", space={"lr": [0.01, 0.1]}, executor="lean")


def test_a_callback_of_its_own_may_end_a_trial(searched: Searched) -> None:
    trials = searched(
        "early",
        model={"class": "unruly:Hooked", "most_epochs": 2},
        space={"lr": [0.01, 0.1]},
        epochs=9,
        budget={"trials": 2},
    )

    assert [(trial.state, trial.epochs) for trial in trials] == [("complete", 2)] * 2


def test_hopeless_trials_are_pruned(searched: Searched) -> None:
    """The grid goes from a learning rate that learns to ones that cannot."""
    trials = searched(
        "pruned",
        model="unruly:TwoPlayers",
        space={"lr": [0.05, 1e-6, 1e-7, 1e-8]},
        sampler="grid",
        pruner={"name": "asha", "mode": "stop", "eta": 2, "min_epochs": 1},
        epochs=4,
        budget={"trials": 4},
        resources={"accelerator": "cpu", "slots": 1},
    )

    assert [trial.state for trial in trials] == ["complete", "pruned", "pruned", "pruned"]
    assert [trial.epochs for trial in trials[1:]] == [1, 1, 1]
