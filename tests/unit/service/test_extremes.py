"""The configurations that `hpo check` tries besides the defaults."""

from __future__ import annotations

from hpo.service.check import extremes, largest
from hpo.space import Choice, Float, Int, Parameter, SearchSpace
from hpo.space.parameter import Owner
from hpo.space.values import Value


def parameter(name: str, range_: Float | Int | Choice, default: Value, *, owner: Owner = "data") -> Parameter:
    return Parameter(name, range_, default=default, has_default=True, owner=owner)


def test_the_smallest_and_the_largest_of_the_datas_integers_are_tried() -> None:
    space = SearchSpace(
        (
            parameter("window", Int(8, 64), 16),
            parameter("batch_size", Int(32, 128), 32),
            parameter("noise", Float(0.0, 1.0), 0.1),
            parameter("scaler", Choice("standard", "none"), "standard"),
            parameter("depth", Int(1, 4), 2, owner="model"),
        )
    )

    found = list(extremes(space))

    assert [what for what, _ in found] == [
        "one batch with window=8, batch_size=32",
        "one batch with window=64, batch_size=128",
    ]
    assert all(params["depth"] == 2 and params["noise"] == 0.1 for _, params in found)


def test_nothing_is_tried_twice() -> None:
    space = SearchSpace((parameter("window", Int(8, 64), 8), parameter("lr", Float(0.1, 1.0), 0.1, owner="model")))

    assert [what for what, _ in extremes(space)] == ["one batch with window=64"]
    assert list(extremes(SearchSpace((parameter("lr", Float(0.1, 1.0), 0.1, owner="model"),)))) == []


def test_the_largest_configuration_has_all_its_integers_at_their_ends_but_not_its_length() -> None:
    space = SearchSpace(
        (
            parameter("batch_size", Choice(32, 128, 64), 64),
            parameter("depth", Int(1, 4), 2, owner="model"),
            parameter("lr", Float(0.1, 1.0), 0.1, owner="model"),
            parameter("batch_norm", Choice(True, False), False, owner="model"),
            parameter("epochs", Int(5, 50), 10, owner="trainer"),
        )
    )

    words, point = largest(space)

    assert words == "batch_size=128, depth=4"
    assert point == {**space.defaults(), "batch_size": 128, "depth": 4}
