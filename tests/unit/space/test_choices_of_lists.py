"""Choices that are lists, tuples or mappings: Optuna stores their labels, everybody else sees the values."""

from __future__ import annotations

import json
from typing import Annotated, Any

import optuna
import pytest

from hpo.errors import SpecError
from hpo.space import Choice, Parameter, SearchSpace, arguments_of
from hpo.space.from_text import value_of_text

ADAM, SGD = {"name": "adam", "lr": 0.001}, {"name": "sgd", "lr": 0.1}


class Net:
    def __init__(
        self,
        hidden: Annotated[tuple[int, ...], Choice((64, 64), (128,))] = (128,),
        dims: list[int] = [8, 4],  # noqa: B006  (as templates have it)
        optim: dict[str, Any] = {"name": "adam", "lr": 0.01},  # noqa: B006
        sizes: Any = (3, 5),
    ) -> None: ...


SPACE = SearchSpace.of(Net)


def test_optuna_stores_a_readable_label_and_the_point_has_the_list() -> None:
    study = optuna.create_study()
    trial = study.ask()

    point = SPACE.suggest(trial)

    assert point["hidden"] in ([64, 64], [128])
    assert trial.params == {"hidden": json.dumps(point["hidden"])}
    assert trial.distributions["hidden"] == optuna.distributions.CategoricalDistribution(("[64, 64]", "[128]"))


def test_a_tuple_is_a_list_in_the_store() -> None:
    assert SPACE["hidden"].range == Choice([64, 64], [128])
    assert SPACE.defaults() == {"hidden": [128]}
    assert SearchSpace.from_json(json.loads(json.dumps(SPACE.to_json()))) == SPACE


def test_a_file_lists_lists_and_mappings() -> None:
    changes = {"dims": [[64], [64, 32]], "optim": [ADAM, SGD], "hidden": [[64, 64]]}

    space = SPACE.override(changes, arguments_of(Net)).space

    assert space["dims"].range == Choice([64], [64, 32])
    assert space["optim"].range == Choice(ADAM, SGD)
    assert space.contains({"dims": [64, 32], "optim": {"lr": 0.1, "name": "sgd"}, "hidden": [64, 64]})
    assert space.stored({"optim": SGD}) == {"optim": '{"name": "sgd", "lr": 0.1}'}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dims": [64, 32]}, r"'dims': 64 is not a list: the choices of a list are lists, such as \[\[64, 64\]"),
        ({"optim": ["adam"]}, "'optim': 'adam' is not a mapping"),
        ({"hidden": [[64, 64], [32]]}, r"'hidden': \[32\] is not one of \[64, 64\], \[128\]"),
        ({"dims": [[float("inf")]]}, "is not a text, a finite number"),
        ({"dims": [[1], [1]]}, r"the choice \[1\] is listed twice"),
    ],
)
def test_choices_of_another_kind_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        SPACE.override(changes, arguments_of(Net))


def test_a_list_of_texts_is_refused_as_a_choice_of_a_text() -> None:
    class Wrong:
        def __init__(self, norm: Annotated[str, Choice(["batch", "layer"])] = "batch") -> None: ...

    with pytest.raises(SpecError, match=r"write Choice\('a', 'b'\)|is not"):
        SearchSpace.of(Wrong)


def test_a_text_that_is_a_lists_label_is_refused_beside_the_list() -> None:
    with pytest.raises(SpecError, match="cannot distinguish"):
        Choice([1, 2], "[1, 2]")
    assert Choice([1], [1.0], [True]).choices == ([1], [1.0], [True])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[64, 64]", [64, 64]),
        ("[64,64]", [64, 64]),
        ("{name: sgd, lr: 0.1}", SGD),
        ('{"name": "sgd", "lr": 0.1}', SGD),
        ("none", None),
        ("[unclosed", "[unclosed"),
    ],
)
def test_a_point_is_written_as_in_a_study_file(text: str, value: Any) -> None:
    parameter = Parameter("x", Choice([64, 64], SGD, None))

    assert value_of_text(parameter, text) == value


def test_the_label_stands_for_its_list() -> None:
    """Optuna's own scripts enqueue labels."""
    assert SPACE["hidden"].range.take("[64, 64]") == [64, 64]
    assert SPACE["hidden"].range.take((64, 64)) == [64, 64]
    assert SPACE["hidden"].range.problem([64, True]) is not None


def test_a_condition_may_name_a_list() -> None:
    depth = Parameter("depth", Choice([64, 64], [128]))
    space = SearchSpace((depth, Parameter("skip", Choice(True, False), when={"depth": ([64, 64],)})))

    assert space["skip"].is_active({"depth": [64, 64]})
    assert not space["skip"].is_active({"depth": [128]})
    assert str(space["skip"]).endswith("when depth is [64, 64], of the model")
