"""Modules as templates write them, searched by a study file: what is given to them, stored, and loaded again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch
from projects.launch import Hpo
from sqlalchemy import text

from hpo.errors import HpoError
from hpo.ipc.fork_server import ForkServer
from hpo.results.trial import TrialRecord
from hpo.service.assembly import Workspace, begin
from hpo.store import Store
from hpo.study.study_file import read_study

FOREIGN = Path(__file__).parents[1] / "foreign"


class Searched(Protocol):
    """The trials of a study of two epochs and two trials, unless the keys of its file say otherwise."""

    def __call__(self, model: Any, **keys: Any) -> list[TrialRecord]: ...


@pytest.fixture
def hpo(tmp_path: Path) -> Hpo:
    return Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")


@pytest.fixture
def searched(tmp_path: Path, hpo: Hpo, server: ForkServer) -> Searched:
    """Does what `hpo run` does, below one server for all tests: to import torch takes seconds."""

    def search(model: Any, **keys: Any) -> list[TrialRecord]:
        file = hpo.study("study", **{"model": model, "data": "templates:Circle", "budget": {"trials": 2}, **keys})
        with Store.create(hpo.url) as store:
            workspace = Workspace(server, FOREIGN, store, tmp_path / "art")
            begin(workspace, *read_study(file)).worker.run_until_done()
        found = hpo.trials("study")
        assert [trial.state for trial in found] == ["complete"] * len(found), [trial.error for trial in found]
        return found

    return search


def loads(trial: TrialRecord) -> Any:
    """The trial's model, built again with its weights."""
    model: Any = trial.load_model(project=FOREIGN)
    assert model.net(torch.zeros(3, 2)).shape == (3, 2)
    return model


def test_choices_are_lists_tuples_and_mappings(searched: Searched, hpo: Hpo) -> None:
    options = [{"name": "Adam", "lr": 0.01}, {"name": "SGD", "lr": 0.1}]
    space = {"hidden": [[8], [4, 4]], "optim": options, "sizes": [[1, 2], [3]]}

    trials = searched("templates:Lists", space=space, sampler="grid", budget={"trials": 8})

    assert {len(trial.params["hidden"]) for trial in trials} == {1, 2}
    assert [trial.params for trial in trials if trial.params["optim"] == options[1]]
    for trial in trials:
        assert trial.config["model"] == {"class": "templates:Lists", **trial.params}
        assert trial.config["params"] == trial.params
    assert len(loads(trials[-1]).net) == 2 * len(trials[-1].params["hidden"]) + 1
    # what Optuna and its dashboard read
    with Store.open(hpo.url) as store, store.read() as connection:
        rows = connection.scalars(text("select distinct distribution_json from trial_params")).all()
    assert ["[8]", "[4, 4]"] in [json.loads(row)["attributes"]["choices"] for row in rows]


def test_entries_of_a_mapping_are_searched(searched: Searched) -> None:
    space = {"optim.lr": {"low": 1e-3, "high": 0.5, "log": True}, "optim.name": ["SGD", "Adam"]}

    first, second = searched("templates:Lists", space=space)

    assert first.params == {"optim.lr": 0.1, "optim.name": "SGD"}
    assert second.config["model"]["optim"] == {"name": second.params["optim.name"], "lr": second.params["optim.lr"]}
    assert loads(second).optim == second.config["model"]["optim"]


def test_entries_of_a_dataclass_are_searched_and_the_others_kept(searched: Searched) -> None:
    model = {"class": "templates:Configured", "config": {"lr": 0.2}}
    space = {"config.hidden": {"low": 4, "high": 16}, "config": {"schedule": {"gamma": [0.5, 0.7]}}}

    first, second = searched(model, space=space)

    assert first.params == {"config.hidden": 6, "config.schedule.gamma": 0.5}
    assert second.config["model"]["config"] == {
        "hidden": second.params["config.hidden"],
        "lr": 0.2,
        "act": "gelu",
        "schedule": {"gamma": second.params["config.schedule.gamma"]},
    }
    config = loads(second).config
    assert (config.hidden, config.lr, config.act) == (second.params["config.hidden"], 0.2, "gelu")
    assert config.schedule.gamma == second.params["config.schedule.gamma"]


def test_entries_of_a_namespace_are_searched(searched: Searched) -> None:
    _, second = searched("templates:OldStyle", space={"hparams.hidden": [4, 6, 8]})

    assert second.config["model"]["hparams"] == {"hidden": second.params["hparams.hidden"], "lr": 0.1}
    assert loads(second).rate == 0.1


def test_objects_are_built_from_their_classes(searched: Searched) -> None:
    net = {"class": "templates:Net", "width": 4, "head": {"class": "templates:Head", "inputs": 4}}
    model = {"class": "templates:Nested", "net": net, "losses": [{"class": "torch.nn:CrossEntropyLoss"}]}

    _, second = searched(model, space={"net.head.bias": [True, False]})

    assert second.config["model"]["net"]["head"]["bias"] == second.params["net.head.bias"]
    assert (loads(second).net.head.linear.bias is not None) == second.params["net.head.bias"]


def test_objects_are_choices(searched: Searched) -> None:
    nets = [{"class": "templates:Net", "width": 4}, {"class": "templates:Net", "width": 6}]

    first, second = searched("templates:Nested", space={"net": nets}, sampler="grid")

    assert [first.params["net"], second.params["net"]] == nets
    assert [loads(trial).net.body.out_features for trial in (first, second)] == [4, 6]


def test_a_class_with_free_keywords_takes_any_name(searched: Searched) -> None:
    _, second = searched({"class": "templates:Keywords", "note": "x"}, space={"hidden": [4, 8]})

    assert second.config["model"] == {"class": "templates:Keywords", "note": "x", "hidden": second.params["hidden"]}
    assert loads(second).hparams.note == "x"


def test_a_file_gives_defaults_and_conditions(searched: Searched) -> None:
    space = {
        "hidden": {"low": 2, "high": 9, "default": 5},
        "noise": {"low": 0.0, "high": 1.0, "when": {"kind": ["b"]}, "default": 0.25},
        "kind": ["a", "b"],
    }

    trials = searched("templates:Keywords", space=space, budget={"trials": 6})

    assert trials[0].params == {"kind": "a", "hidden": 5}
    assert all(("noise" in trial.params) == (trial.params["kind"] == "b") for trial in trials)
    assert trials[0].config["model"]["noise"] == 0.25
    assert loads(trials[0]).hparams.noise == 0.25


def test_a_model_with_its_own_loaders_needs_no_data(searched: Searched) -> None:
    space = {"batch_size": [8, 16], "hidden": {"low": 2, "high": 9}}

    trials = searched("templates:OwnLoaders", data=None, space=space)

    assert {trial.config["executor"] for trial in trials} == {"lean"}
    loads(trials[1])


def test_options_of_the_trainer_hold_in_each_trial(searched: Searched) -> None:
    options = {
        "accumulate_grad_batches": 2,
        "gradient_clip_val": 0.5,
        "limit_train_batches": 0.75,
        "val_check_interval": 1 / 3,
        "callbacks": [{"class": "templates:CountSteps", "prefix": "all"}],
    }

    trials = searched("templates:OwnLoaders", data=None, space={"hidden": [4, 8]}, trainer=options)

    assert {trial.config["executor"] for trial in trials} == {"lean"}
    for trial in trials:
        metrics = [metrics for _, metrics in trial.curve]
        assert [m["all_batches"] for m in metrics] == [3, 6]
        assert [m["all_steps"] for m in metrics] == [2, 4]
        assert [m["all_validations"] for m in metrics] == [3, 6]


def test_a_trial_is_judged_in_the_epochs_that_validate(searched: Searched) -> None:
    options = {"check_val_every_n_epoch": 2, "limit_val_batches": 1}

    trials = searched("templates:OwnLoaders", data=None, space={"hidden": [4, 8]}, epochs=5, trainer=options)

    for trial in trials:
        assert [epoch for epoch, metrics in trial.curve if "val_loss" in metrics] == [2, 4]
        assert trial.best_epoch in (2, 4)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            {"model": {"class": "templates:Nested", "net": {"class": "templates:Nett"}}},
            r"study.yaml:\d+: model.net: templates:Nett: templates .* has no class 'Nett', did you mean 'Net'",
        ),
        (
            {"model": {"class": "templates:Nested", "net": {"class": "templates:Net", "widht": 3}}},
            r"model.net: templates:Net takes no argument 'widht', did you mean 'width'\? It takes width, head",
        ),
        (
            {"model": "templates:Nested", "space": {"net": [{"class": "templates:Net"}, {"class": "nowhere:Net"}]}},
            "space.net.1: nowhere:Net: there is no module 'nowhere'",
        ),
        (
            {
                "model": {
                    "class": "templates:Nested",
                    "net": {"class": "templates:Net", "head": {"class": "templates:Head"}},
                }
            },
            "model.net.head: one batch failed: Head: missing a required argument: 'inputs'",
        ),
        (
            {"model": "templates:Configured", "space": {"config.hiden": [3, 4]}},
            "space.config.hiden: 'config' has no 'hiden', did you mean 'hidden'",
        ),
        (
            {"model": {"class": "templates:Configured", "config": {"layers": 3}}},
            "model.config.layers: 'config' has no 'layers'. It has hidden, lr, act, schedule",
        ),
        ({"model": "templates:Keywords", "data": None}, "data: is missing, and templates:Keywords has no train_data"),
        (
            {"model": "templates:OwnLoaders", "data": None, "trainer": {"callbacks": ["templates:Net"]}},
            "trainer.callbacks.0: templates:Net is not a Callback of pytorch_lightning",
        ),
        (
            {"model": "templates:OwnLoaders", "data": None, "trainer": {"callbacks": ["templates:Nett"]}},
            "trainer.callbacks.0: templates:Nett: templates .* has no class 'Nett'",
        ),
    ],
)
def test_an_error_names_the_place_in_the_file(searched: Searched, keys: dict[str, Any], words: str) -> None:
    key = "hidden" if keys.get("data", "") is None else "batch_size"
    keys = {"space": {key: [8, 16]}, **keys}

    with pytest.raises(HpoError, match=words) as caught:
        searched(keys.pop("model"), **keys)

    assert "study.yaml" in str(caught.value)
