"""A study of several objectives, trained: measured ones, a front whose models load, resumption, the verbs, finalize."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from projects.launch import PROJECT, Hpo, finish, wait_for
from projects.service import invoke

import hpo as package
from hpo.study.states import TrialState

MEASURED = ["parameters", "seconds_per_epoch", "peak_memory", "inference_ms"]
SMALL: dict[str, Any] = {
    "model": "models.dnn:DNN",
    "data": {"class": "models.data:Table", "source": "diabetes", "split_seed": 3},
    "objective": ["val_rmse", "parameters"],
    "space": {"width": {"low": 4, "high": 64}, "depth": 1, "lr": 0.01, "optimizer": "adam"},
    "epochs": 6,
    "sampler": "tpe",
    "pruner": {"name": "asha", "min_epochs": 2, "eta": 2},
    "budget": {"trials": 8},
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Hpo:
    """With the study `small`, searched."""
    folder = tmp_path_factory.mktemp("several")
    made = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    target = {"hypervolume": 1e9, "reference": {"val_rmse": 90.0, "parameters": 5000}}
    code, output = made.run(
        "run", made.study("small", **SMALL | {"budget": {"trials": 8, "target": target}}), "--slots", 2
    )
    assert code == 0, output
    assert "the front of minimize val_rmse, minimize parameters:" in output
    return made


def test_trials_are_pruned_by_both_objectives_and_the_front_has_models(here: Hpo) -> None:
    study = package.open_study("small", store=here.url)
    front = study.front()

    assert here.counts("small")["complete"] + here.counts("small").get("pruned", 0) == 8
    assert any(record.epochs < 6 for record in study.trials())
    assert front.trials
    assert front.hypervolume is not None
    for record in study.best(None):
        model = record.load_model(project=PROJECT)
        assert sum(parameter.numel() for parameter in model.parameters()) == record.values[1]
        curve = dict(record.curve)
        assert record.best_epoch is not None
        assert record.values == (curve[record.best_epoch]["val_rmse"], curve[record.best_epoch]["parameters"])
        assert record.values[0] == min(metrics["val_rmse"] for metrics in curve.values())


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("ls",), "front of "),
        (("status", "small"), "front:"),
        (("trials", "small"), "complete"),
        (("best", "small"), "val_rmse"),
        (("pareto", "small"), "o on the front"),
        (("show", "small", "0"), "trial 0"),
        (("diff", "small", "small"), "small"),
        (("importance", "small"), "Too few trials"),
        (("doctor",), "nothing is wrong"),
        (("set", "small", "patience=50"), "patience 50"),
        (("best", "small", "--by", "optimizer"), "val_rmse"),
        (("best", "small", "--columns", "number,val_rmse,parameters", "--csv"), "number,val_rmse,parameters"),
    ],
)
def test_every_verb_that_looks_knows_two_objectives(here: Hpo, arguments: tuple[str, ...], text: str) -> None:
    code, output = invoke(here, *arguments)

    assert code == 0, output
    assert text.lower() in output.lower()


def test_the_front_is_drawn_into_a_picture_and_told_as_json(here: Hpo, tmp_path: Path) -> None:
    picture = tmp_path / "front.svg"

    code, output = invoke(here, "pareto", "small", "-o", picture)
    as_json = json.loads(invoke(here, "pareto", "small", "--json")[1])

    assert code == 0, output
    assert picture.read_text().count("<circle") == len(as_json["front"])
    assert [one["metric"] for one in as_json["objectives"]] == ["val_rmse", "parameters"]
    assert invoke(here, "pareto", "small", "-o", tmp_path / "front.png")[0] == 2
    assert invoke(here, "pareto", "small", "-o", tmp_path / "nowhere" / "front.svg")[0] == 2


def test_a_trial_of_the_front_that_a_person_names_is_finalized(here: Hpo) -> None:
    study = package.open_study("small", store=here.url)
    named = study.front().trials[-1].number

    code, output = here.run("finalize", "small", "--trial", named, "--seeds", 2)

    assert code == 0, output
    assert f"Chosen of 8 trials was trial {named}: val_rmse" in output
    final = study.final()
    assert final is not None
    assert (final.winner, final.metric) == (named, "val_rmse")
    assert here.run("finalize", "small", "--trial", 99)[0] == 2


def test_what_is_measured_is_an_objective_of_every_epoch(tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    keys = SMALL | {"objective": ["val_rmse", *MEASURED], "pruner": "none", "budget": {"trials": 2}, "epochs": 3}

    code, output = here.run("run", here.study("measured", **keys), "--slots", 1)

    assert code == 0, output
    for record in here.trials("measured"):
        assert record.state == TrialState.COMPLETE
        _, parameters, seconds, memory, milliseconds = record.values
        assert parameters == int(parameters) > 0
        assert 0 < seconds < 30
        assert 10 * 2**20 < memory < 8 * 2**30
        assert 0 < milliseconds < 1000
        assert all(set(MEASURED) <= metrics.keys() for _, metrics in record.curve)


def test_measuring_does_not_change_what_is_trained(tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    keys = SMALL | {"pruner": "none", "budget": {"trials": 1}, "epochs": 3}
    for name, objective in (("alone", "val_rmse"), ("several", ["val_rmse", "inference_ms"])):
        assert here.run("run", here.study(name, **keys | {"objective": objective}), "--slots", 1)[0] == 0

    alone, several = (
        [metrics["val_rmse"] for _, metrics in here.trials(name)[0].curve] for name in ("alone", "several")
    )

    assert alone == several


@pytest.mark.parametrize(
    ("objective", "text"),
    [
        (["val_loss", "inference_ms"], "inference_ms cannot be measured: validation_step does not call the model"),
        (["val_loss", "val_f1"], "the model never logs 'val_f1'"),
    ],
)
def test_an_objective_that_is_never_known_is_told_before_anything_is_trained(
    tmp_path: Path, objective: list[str], text: str
) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")

    code, output = here.run("run", here.study("never", objective=objective, epochs=3, budget={"trials": 2}))

    assert code == 2
    assert text in output


def test_a_killed_worker_leaves_its_trials_objectives_to_the_next_one(tmp_path: Path) -> None:
    here = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    model = {"class": "projects.nets:Line", "seconds": 0.5}
    file = here.study("killed", model=model, objective=["val_loss", "parameters"], epochs=8, budget={"trials": 1})
    worker = here.start("run", file, "--slots", 1)
    wait_for(lambda: (tmp_path / "hpo.db").exists() and any(len(one.curve) >= 2 for one in trials(here)))
    worker.send_signal(signal.SIGKILL)
    finish(worker)
    here.expire_leases()

    code, output = here.run("run", file, "--slots", 1)

    assert code == 0, output
    [record] = here.trials("killed")
    assert (record.state, record.attempts) == (TrialState.COMPLETE, 2)
    assert [epoch for epoch, _ in record.curve] == list(range(1, 9))
    assert record.values[1] == 5
    assert record.values[0] == min(metrics["val_loss"] for _, metrics in record.curve)


def trials(here: Hpo) -> list[Any]:
    """None while the study is not there."""
    try:
        return list(here.trials("killed"))
    except package.HpoError:
        return []
