"""Several models in one study: the union of their spaces, and what a trial of each is given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from hpo.errors import SpecError
from hpo.space import Choice, Float, Int, When
from hpo.space.description import description_of
from hpo.study.families import FAMILIES
from hpo.study.objects import objects_of
from hpo.study.resolved_study import ResolvedStudy, resolve
from hpo.study.study_file import read_study

HEAD = "model: [nets:Small, nets:Large]\ndata: nets:Points\nobjective: val_loss\n"


class Small:
    def __init__(
        self,
        width: Annotated[int, Int(1, 8)] = 2,
        depth: Annotated[int, Int(1, 3)] = 1,
        optimizer: Annotated[Literal["adam", "sgd"], Choice()] = "adam",
        momentum: Annotated[float, Float(0, 1), When(optimizer="sgd")] = 0.9,
        bias: bool = True,
    ) -> None: ...


class Large:
    def __init__(
        self,
        width: Annotated[int, Int(8, 64)] = 16,
        heads: Annotated[int, Int(1, 4)] = 1,
        optimizer: Annotated[Literal["adam", "sgd"], Choice()] = "adam",
        momentum: Annotated[float, Float(0, 1), When(optimizer="sgd")] = 0.9,
        pooling: str = "mean",
    ) -> None: ...


class Points:
    def __init__(self, batch_size: Annotated[int, Int(1, 64)] = 8, rows: int = 32) -> None: ...


def define(folder: Path, text: str = "", head: str = HEAD) -> ResolvedStudy:
    (folder / "study.yaml").write_text(head + text)
    spec, source = read_study(folder / "study.yaml")
    classes = {
        "model": description_of(Small, "model"),
        "model 2": description_of(Large, "model"),
        "data": description_of(Points, "data"),
    }
    return resolve(spec, classes, source)


def test_what_both_search_alike_is_one_parameter_and_the_rest_is_conditional(tmp_path: Path) -> None:
    space = define(tmp_path).space

    assert {name: dict(parameter.when) for name, parameter in space.items()} == {
        "model": {},
        "Small.width": {"model": ("Small",)},
        "depth": {"model": ("Small",)},
        "optimizer": {},
        "momentum": {"optimizer": ("sgd",)},
        "Large.width": {"model": ("Large",)},
        "heads": {"model": ("Large",)},
        "batch_size": {},
    }
    assert space["model"].range == Choice("Small", "Large")


def test_a_trial_gets_the_class_and_the_arguments_of_its_model(tmp_path: Path) -> None:
    resolved = define(tmp_path)
    small, large = resolved.first_points()

    assert resolved.sections(small) == {
        "model": {"class": "nets:Small", "width": 2, "depth": 1, "optimizer": "adam"},
        "data": {"class": "nets:Points", "batch_size": 8},
    }
    assert resolved.sections(large)["model"] == {"class": "nets:Large", "width": 16, "heads": 1, "optimizer": "adam"}


def test_a_file_changes_the_space_of_all_or_of_one(tmp_path: Path) -> None:
    text = "space: {optimizer: adam, heads: 2, bias: [true, false], Large.width: {high: 32}, rows: 64}\n"
    resolved = define(tmp_path, text)
    small, large = resolved.first_points()

    assert resolved.space["Large.width"].range == Int(8, 32)
    assert resolved.space["Small.width"].range == Int(1, 8)
    assert resolved.space["bias"].when == {"model": ("Small",)}
    assert resolved.sections(small)["model"]["bias"] is True
    assert resolved.sections(large)["model"]["heads"] == 2
    assert resolved.sections(large)["data"]["rows"] == 64
    assert "optimizer" not in resolved.space


def test_models_have_arguments_of_their_own(tmp_path: Path) -> None:
    head = HEAD.replace("nets:Large]", "{class: nets:Large, pooling: max}]")
    small, large = define(tmp_path, head=head).first_points()
    resolved = define(tmp_path, head=head)

    assert resolved.sections(large)["model"]["pooling"] == "max"
    assert "pooling" not in resolved.sections(small)["model"]


def test_a_parameter_of_one_name_and_another_condition_is_one_for_each(tmp_path: Path) -> None:
    resolved = define(tmp_path, "space: {Small.optimizer: [adam]}\n")

    assert resolved.space["Large.momentum"].when == {"Large.optimizer": ("sgd",), "model": ("Large",)}


def test_it_survives_the_store_and_is_compared(tmp_path: Path) -> None:
    resolved = define(tmp_path)
    stored = ResolvedStudy.from_json(resolved.to_json(), json.dumps(resolved.space.to_json()))

    assert stored.sections(stored.first_points()[1]) == resolved.sections(resolved.first_points()[1])
    assert resolved.differences(stored) == []
    changed = define(tmp_path, head=HEAD.replace("nets:Large]", "{class: nets:Large, pooling: max}]"))
    assert changed.differences(stored) == ["arguments of nets:Large: {pooling: max} here, {} in the store"]


@pytest.mark.parametrize(
    ("text", "head", "message"),
    [
        ("space: {widht: 3}\n", HEAD, "study.yaml:4: space.widht: 'widht' is not searched by nets:Small"),
        ("space: {heads: many}\n", HEAD, "study.yaml:4: space.heads: 'heads': 'many' is a text"),
        ("", HEAD.replace("[nets:Small, nets:Large]", "[nets:Small]"), "study.yaml:1: model: is a list of at least"),
        ("", HEAD.replace("nets:Large]", "Large]"), "study.yaml:1: model.1.class: 'Large' does not name a class"),
    ],
)
def test_mistakes_are_told_with_their_place(text: str, head: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        define(tmp_path, text, head)

    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(message)


@pytest.mark.parametrize(
    "data", ["models.data:Digits", "{class: models.data:Digits, only: '01'}"], ids=["a class", "with arguments"]
)
def test_auto_takes_the_families_that_fit_the_data(data: str, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(f"model: auto\ndata: {data}\nobjective: val_loss\n")
    spec, _ = read_study(tmp_path / "study.yaml")

    assert [one.label for one in spec.models] == list(FAMILIES["models.data:Digits"])


def test_auto_needs_data_that_it_knows(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("model: auto\ndata: nets:Points\nobjective: val_loss\n")

    with pytest.raises(SpecError, match=r"model: auto knows models for models\.data:Table"):
        read_study(tmp_path / "study.yaml")


def test_objects_of_each_model_have_their_place(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(HEAD.replace("nets:Large]", "{class: nets:Large, loss: {class: nets:Loss}}]"))
    spec, _ = read_study(tmp_path / "study.yaml")

    [found] = objects_of(spec)
    expected: list[Any] = ["model", 1, "loss"]
    assert found.path == expected
