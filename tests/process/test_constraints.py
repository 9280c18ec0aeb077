"""Constraints of real studies: trials are refused before they train, or infeasible by what they measure and log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from projects.launch import Hpo

WIDE = "projects.constrained:Wide"
REFUSED = "refused: "


@pytest.fixture
def hpo(tmp_path: Path) -> Hpo:
    return Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")


def model(**arguments: Any) -> dict[str, Any]:
    return {"class": WIDE, **arguments}


def test_a_trial_that_has_too_many_parameters_is_refused_before_it_trains(hpo: Hpo) -> None:
    file = hpo.study(
        "small", model=model(lr=0.01), constraints=["parameters <= 20"], sampler="tpe", budget={"trials": 4}
    )

    code, output = hpo.run("run", file, "--slots", 1)

    assert code == 0, output
    records = hpo.trials("small")
    refused, trained = ([r for r in records if (r.state == "failed") == is_refused] for is_refused in (True, False))
    assert [record.state for record in trained] == ["complete"] * 4
    assert all(record.params["width"] <= 4 and record.feasible for record in trained)
    assert refused[0].number == 0  # the defaults
    assert all(record.params["width"] > 4 and not record.feasible for record in refused)
    assert refused[0].curve == ()
    assert refused[0].causes == (f"{REFUSED}parameters <= 20",)
    assert refused[0].violations == {"parameters": pytest.approx(1.0)}
    assert "violates a constraint: parameters 40, which should be <= 20" in output
    assert "trial 0 is refused before it trains: parameters 40, which should be <= 20" in output
    assert f"4 complete, 0 pruned, 0 failed; {len(refused)} more refused for a constraint" in output
    assert "parameters 40, which should be <= 20" in hpo.run("show", "small", 0)[1]


@pytest.mark.parametrize(
    ("arguments", "constraint", "executor"),
    [
        ({"forward_seconds": 0.005}, "inference_ms < 22", "lean"),
        ({"forward_seconds": 0.005}, "inference_ms < 22", "lightning"),
        ({"mebibytes": 60}, "peak_memory < 500 MiB", "lean"),
    ],
)
def test_one_batch_shows_whether_a_trial_is_too_slow_or_too_large(
    hpo: Hpo, arguments: dict[str, Any], constraint: str, executor: str
) -> None:
    file = hpo.study(
        "one-batch",
        model=model(lr=0.01, **arguments),
        space={"width": [1, 8]},
        constraints=[constraint],
        sampler="random",
        executor=executor,
        budget={"trials": 2},
    )

    code, output = hpo.run("run", file, "--slots", 1)

    assert code == 0, output
    for record in hpo.trials("one-batch"):
        is_small = record.params["width"] == 1
        assert record.state == ("complete" if is_small else "failed"), output
        assert record.causes == (("complete",) if is_small else (f"{REFUSED}{constraint}",))
        assert record.feasible is is_small


def test_what_is_measured_before_training_leaves_no_trace_in_it(hpo: Hpo) -> None:
    keys: dict[str, Any] = {"model": model(), "budget": {"trials": 2}, "seed": 3}
    hpo.run("run", hpo.study("free", **keys), "--slots", 1)
    limits = ["inference_ms < 1e6", "peak_memory < 99 GiB"]
    hpo.run("run", hpo.study("limited", **keys, constraints=limits), "--slots", 1)

    free, limited = ([record.curve for record in hpo.trials(name)] for name in ("free", "limited"))

    assert len(free) == 2
    assert free == limited


def test_a_metric_counts_at_the_best_epoch_and_such_a_trial_is_trained_to_its_end(hpo: Hpo) -> None:
    file = hpo.study(
        "recall",
        model=model(lr=0.01),
        space={"width": [1, 8]},
        constraints=["val_recall >= 0.5", "seconds_per_epoch < 60"],
        budget={"trials": 2},
    )

    code, output = hpo.run("run", file, "--slots", 1)

    assert code == 0, output
    records = hpo.trials("recall")
    assert [record.state for record in records] == ["complete"] * 2
    assert {(record.params["width"], record.feasible) for record in records} == {(1, True), (8, False)}
    [first] = {record.violations["val_recall"] for record in records if not record.feasible}
    assert first == pytest.approx(0.75)
    assert all(record.violations["seconds_per_epoch"] < 0 for record in records)
    best = json.loads(hpo.run("best", "recall", "-k", 9, "--json")[1])
    assert {found["params"]["width"] for found in best} == {1}
    assert "infeasible: val_recall" in hpo.run("trials", "recall")[1]
    number = next(record.number for record in records if not record.feasible)
    shown = hpo.run("show", "recall", number)[1]
    assert "val_recall violated by 0.75 times its bound" in shown
    assert "seconds_per_epoch satisfied" in shown


def test_a_space_without_a_feasible_point_ends_the_study_and_says_so(hpo: Hpo) -> None:
    file = hpo.study("none", model=model(), constraints=["parameters < 2"], budget={"trials": 4})

    code, output = hpo.run("run", file, "--slots", 2)

    assert code == 1
    assert "100 trials in a row were refused before they trained: parameters < 2 (violated by 100)" in output
    assert "Widen the space to where these hold, or loosen them" in output
    assert set(hpo.counts("none")) == {"failed"}


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        (["val_recal >= 0.5"], "constraints.0: 'val_recal' is neither measured nor logged by the model, did you mean"),
        (["parameter < 5"], "is neither measured nor logged by the model, did you mean 'parameters'?"),
        (["peak_memory < 5 GB", "recall > 0.5"], "constraints.1: 'recall' is neither measured nor logged by the model"),
    ],
)
def test_a_constraint_on_what_is_never_logged_is_refused(hpo: Hpo, constraints: list[str], message: str) -> None:
    code, output = hpo.run("check", hpo.study("unknown", model=model(), constraints=constraints))

    assert code == 2, output
    assert message in output
    assert "Measured are parameters, peak_memory, inference_ms, seconds_per_epoch; it has logged" in output


def test_a_model_without_forward_cannot_be_timed(hpo: Hpo) -> None:
    code, output = hpo.run("check", hpo.study("line", constraints=["inference_ms < 5"]))

    assert code == 2
    assert "constraints: inference_ms cannot be measured: Line has neither forward nor predict_step" in output


def test_a_check_says_that_the_defaults_are_infeasible(hpo: Hpo) -> None:
    keys: dict[str, Any] = {"model": model(seconds=0.3), "constraints": ["parameters < 30", "seconds_per_epoch < 1e-4"]}
    code, output = hpo.run("check", hpo.study("infeasible", **keys))

    assert code == 0, output
    words = " ".join(output.split())
    assert "(width=8, lr=0.01) violates a constraint: parameters 40, which should be < 30; seconds_per_epoch" in words
    assert "write first_trial: sampled" in words
