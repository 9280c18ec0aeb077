"""Constraints of a study file: what they say, by how much a value violates one, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from hpo.errors import SpecError
from hpo.study.constraints import parse, refusing, total, violated, violations
from hpo.study.study_file import Source

KEYS: dict[str, Any] = {"study": "s", "model": "nets:Line", "data": "nets:Points", "objective": "val_loss"}


@pytest.mark.parametrize(
    ("text", "name", "bound"),
    [
        ("peak_memory <= 8 GiB", "peak_memory", 8 * 2**30),
        ("peak_memory<500MB", "peak_memory", 5e8),
        ("inference_ms < 5", "inference_ms", 5.0),
        ("inference_ms < 0.1 s", "inference_ms", 100.0),
        ("seconds_per_epoch <= 2 min", "seconds_per_epoch", 120.0),
        ("parameters < 1e6", "parameters", 1e6),
        ("parameters > 10 k", "parameters", 1e4),
        ("val_recall >= 0.9", "val_recall", 0.9),
        ("val/recall >= -.5", "val/recall", -0.5),
        ("`my recall` > 1_000", "my recall", 1000.0),
    ],
)
def test_a_constraint_has_a_name_and_a_bound_in_its_own_unit(text: str, name: str, bound: float) -> None:
    found = parse(text)

    assert (found.name, found.bound) == (name, bound)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("peak_memory <= 8", "peak_memory needs a unit: KiB, MiB, GiB, KB, MB, GB, B"),
        ("peak_memory <= 8 Gib", "'Gib' is no unit of peak_memory: write KiB, MiB, GiB"),
        (
            "peak_memroy <= 8 GiB",
            "is no unit of the metric 'peak_memroy', which has none, did you mean 'peak_memory'",
        ),
        ("parameters < many", "'many' is no number: write NAME <= NUMBER UNIT, such as 'peak_memory <= 8 GiB'"),
        ("parameters < nan", "'nan' is no number"),
        ("parameters < 1e999", "'1e999' is no number"),
        ("parameters == 5", "'parameters == 5' is no comparison of a name with a number"),
        ("1 < parameters < 5", "is no comparison of a name with a number"),
        ("parameters", "is no comparison of a name with a number"),
    ],
)
def test_what_is_no_constraint_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        parse(text)


@pytest.mark.parametrize(
    ("text", "value", "amount"),
    [
        ("parameters < 100", 150.0, 0.5),
        ("parameters < 100", 50.0, -0.5),
        ("parameters <= 100", 100.0, 0.0),
        ("parameters < 100", 100.0, 1e-9),
        ("val_recall >= 0.8", 0.6, 0.25),
        ("val_bias <= 0", 3.0, 3.0),
        ("val_bias >= -2", -3.0, 0.5),
    ],
)
def test_a_violation_is_a_part_of_the_bound(text: str, value: float, amount: float) -> None:
    assert parse(text).violation(value) == pytest.approx(amount)


def test_of_two_constraints_of_a_name_the_one_counts_that_is_violated_most() -> None:
    limits = [parse("val_recall >= 0.5"), parse("val_recall <= 0.9"), parse("parameters < 10")]

    found = violations(limits, {"val_recall": 0.99, "parameters": 5.0, "peak_memory": 1.0})

    assert found == {"val_recall": pytest.approx(0.1), "parameters": -0.5}
    assert total(found) == pytest.approx(0.1)
    assert [one.text for one in violated(limits, {"val_recall": 0.99})] == ["val_recall <= 0.9"]


def test_only_what_one_batch_shows_refuses_a_trial() -> None:
    refuse = ["parameters > 5", "peak_memory < 1 GiB", "inference_ms < 9"]

    found = refusing(map(parse, [*refuse, "peak_memory > 1 MiB", "val_recall > 0", "seconds_per_epoch < 1"]))

    assert [one.text for one in found] == refuse


def test_a_violation_is_told_in_the_units_of_the_study_file() -> None:
    assert parse("peak_memory <= 8 GiB").shown(9.13 * 2**30) == "peak_memory 9.13 GiB, which should be <= 8 GiB"
    assert parse("parameters < 1e6").shown(2_100_000.0) == "parameters 2,100,000, which should be < 1e6"
    assert parse("val_recall >= 0.9").shown(0.87654) == "val_recall 0.8765, which should be >= 0.9"


@pytest.mark.parametrize(
    ("keys", "messages"),
    [
        (
            {"constraints": ["parameters < many", "peak_memory < 8", "val_recall > 0"]},
            ["constraints.0: 'many' is no number", "constraints.1: peak_memory needs a unit"],
        ),
        ({"constraints": [5]}, ["constraints.0: should be a valid string"]),
        (
            {"constraints": ["parameters < 5", "parameters > 5"]},
            ["constraints.1: 'parameters > 5' and 'par"],
        ),
        (
            {"constraints": ["seconds_per_epoch < 5"], "steps": 100},
            ["constraints.0: seconds_per_epoch is of epochs, and the study has steps"],
        ),
        (
            {"constraints": "parameters < 5", "sampler": "grid"},
            ["constraints.0: would refuse points that sampler: grid has to try"],
        ),
    ],
)
def test_a_study_file_tells_all_problems_of_its_constraints(keys: dict[str, Any], messages: list[str]) -> None:
    with pytest.raises(SpecError) as refused:
        Source.of_mapping({**KEYS, **keys}, call="hpo.run()").study()

    assert [message for message in messages if message not in str(refused.value)] == []


def test_a_single_constraint_needs_no_list_and_none_is_none() -> None:
    def constraints(value: Any) -> tuple[str, ...]:
        return Source.of_mapping({**KEYS, "constraints": value}, call="hpo.run()").study().constraints

    assert constraints("parameters  <  5") == ("parameters < 5",)
    assert constraints(None) == ()
    assert constraints(["val_recall <= 1", "val_recall >= 1"]) == ("val_recall <= 1", "val_recall >= 1")
