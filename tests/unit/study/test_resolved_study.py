"""Study files resolved against their classes; the classes are given by their plain descriptions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from hpo.errors import SpecError
from hpo.ipc.channel import Message
from hpo.space import Choice, Float, Int, Owner, When
from hpo.space.description import description_of
from hpo.study.resolved_study import ResolvedStudy, resolve
from hpo.study.study_file import read_study

MINIMAL = """\
model: nets:Net
data: nets:Points
objective: {metric: val_loss, direction: minimize}
"""


class Net:
    """Searches three, is given `features` by the data, and has two more arguments."""

    def __init__(
        self,
        features: int,
        width: Annotated[int, Int(1, 8)] = 2,
        optimizer: Annotated[Literal["adam", "sgd"], Choice()] = "adam",
        momentum: Annotated[float, Float(0.0, 0.9), When(optimizer="sgd")] = 0.5,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None: ...


class Points:
    """Searches the batch size."""

    def __init__(self, batch_size: Annotated[int, Int(1, 64)] = 8, rows: int = 32) -> None: ...


class WidePoints:
    """Searches a name that Net searches too."""

    def __init__(self, width: Annotated[int, Int(1, 8)] = 2) -> None: ...


def described(model: type[Any] = Net, data: type[Any] = Points) -> dict[str, Message]:
    """What the process that imports the classes says of them, once through JSON."""
    owners: dict[Owner, type[Any]] = {"model": model, "data": data}
    plain = {owner: description_of(cls, owner) for owner, cls in owners.items()}
    answer: dict[str, Message] = json.loads(json.dumps(plain))
    return answer


def define(folder: Path, text: str = "", *, data: type[Any] = Points, head: str = MINIMAL) -> ResolvedStudy:
    file = folder / "study.yaml"
    file.write_text(head + text)
    spec, source = read_study(file)
    return resolve(spec, described(data=data), source)


def refusal(folder: Path, text: str = "", *, data: type[Any] = Points, head: str = MINIMAL) -> str:
    """The message, without the folder's name."""
    with pytest.raises(SpecError) as caught:
        define(folder, text, data=data, head=head)
    return str(caught.value).replace(f"{folder}/", "")


# ---- what is searched


def test_the_space_is_the_union_of_model_and_data(tmp_path: Path) -> None:
    resolved = define(tmp_path)

    assert resolved.space.names == ("width", "optimizer", "momentum", "batch_size")
    assert [p.owner for p in resolved.space.values()] == ["model", "model", "model", "data"]
    assert resolved.fixed == {"model": {}, "data": {}}


def test_a_study_narrows_lists_pins_and_adds(tmp_path: Path) -> None:
    space = "space: {width: {high: 4}, optimizer: [sgd], batch_size: 16, dropout: {low: 0, high: 0.5}, rows: 64}\n"

    resolved = define(tmp_path, space)

    assert resolved.space["width"].range == Int(1, 4)
    assert resolved.space["dropout"].range == Float(0, 0.5)
    assert resolved.space["dropout"].owner == "model"
    assert resolved.fixed == {"model": {}, "data": {"batch_size": 16, "rows": 64}}


def test_a_constructor_argument_of_the_study_pins_what_is_searched(tmp_path: Path) -> None:
    resolved = define(tmp_path, head=MINIMAL.replace("nets:Net", "{class: nets:Net, width: 3, bias: false}"))

    assert "width" not in resolved.space
    assert resolved.fixed["model"] == {"width": 3, "bias": False}


def test_a_range_of_epochs_is_a_parameter_of_the_trainer(tmp_path: Path) -> None:
    resolved = define(tmp_path, "epochs: {low: 2, high: 9}\n")

    assert resolved.space["epochs"].owner == "trainer"
    assert resolved.epochs({"epochs": 5}) == 5
    assert define(tmp_path, "epochs: 7\n").epochs({}) == 7


def test_a_trial_gets_its_parameters_and_what_is_fixed_by_owner(tmp_path: Path) -> None:
    resolved = define(tmp_path, "space: {rows: 64}\nepochs: {low: 2, high: 9}\n")
    params = {"width": 3, "optimizer": "adam", "batch_size": 4, "epochs": 2}

    assert resolved.arguments("model", params) == {"width": 3, "optimizer": "adam"}
    assert resolved.arguments("data", params) == {"rows": 64, "batch_size": 4}


# ---- the same study


def test_a_definition_survives_the_store(tmp_path: Path) -> None:
    resolved = define(tmp_path, "space: {width: {high: 4}, rows: 64}\npruner: {name: asha, eta: 4}\n")

    stored = ResolvedStudy.from_json(resolved.to_json(), json.dumps(resolved.space.to_json()))

    assert stored == resolved
    assert resolved.differences(stored) == []


@pytest.mark.parametrize(
    "text",
    ["budget: {trials: 99}\n", "keep: {checkpoints: 1}\n", "resources: {slots: 1}\n", "study: other\n", "space: {}\n"],
)
def test_another_budget_makes_no_other_search(text: str, tmp_path: Path) -> None:
    assert define(tmp_path, text).differences(define(tmp_path)) == []


@pytest.mark.parametrize(
    ("text", "difference"),
    [
        ("epochs: 3\n", "epochs: 3 here, 100 in the store"),
        ("seed: 1\n", "seed: 1 here, 0 in the store"),
        ("pruner: none\n", "pruner: {name: none, options: {}} here, {name: asha, options: {}} in the store"),
        ("resources: {precision: bf16}\n", "resources: {"),
        ("space: {rows: 64}\n", "data arguments: {rows: 64} here, {} in the store"),
        ("space: {width: {high: 4}}\n", "'width' is 1 to 4, default 2, of the model in this space, but 1 to 8"),
        ("space: {width: 3}\n", "model arguments: {width: 3} here, {} in the store"),
    ],
)
def test_differences_show_the_local_and_the_stored_value(text: str, difference: str, tmp_path: Path) -> None:
    found = define(tmp_path, text).differences(define(tmp_path))

    assert any(line.startswith(difference) for line in found), found


def test_code_that_searches_something_else_is_another_search(tmp_path: Path) -> None:
    class Changed:
        def __init__(self, batch_size: Annotated[int, Int(1, 128)] = 8, rows: int = 32) -> None: ...

    found = define(tmp_path, data=Changed).differences(define(tmp_path))

    assert len(found) == 1
    assert found[0].startswith("'batch_size' is 1 to 128")


# ---- what cannot be


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "space: {widht: 3}\n",
            "study.yaml:4: space.widht: 'widht' is not searched by nets:Net or nets:Points, which searches width, "
            "optimizer, momentum, batch_size, did you mean 'width'?",
        ),
        ("space: {width: {low: 5, high: 2}}\n", "study.yaml:4: space.width: 'width': low 5 is above high 2"),
        (
            "space: {dropout: {low: 0, high: 1, log: true}}\n",
            "study.yaml:4: space.dropout: 'dropout': a log range must start above 0, not at 0",
        ),
        (
            "space: {optimizer: [adam, rmsprop]}\n",
            "study.yaml:4: space.optimizer: 'optimizer': 'rmsprop' is not one of 'adam', 'sgd'",
        ),
        ("space: {width: big}\n", "study.yaml:4: space.width: 'width': 'big' is a text, not an integer"),
        (
            "space: {width: {hihg: 3}}\n",
            "study.yaml:4: space.width: 'width': 'hihg' is not known here, did you mean 'h",
        ),
        (
            "space: {width: 2, optimizer: adam, batch_size: 8}\n",
            "study.yaml:4: space: everything is pinned: there is nothing to search",
        ),
    ],
)
def test_an_invalid_override_is_reported_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, text).startswith(message)


def test_all_invalid_overrides_are_reported_at_once(tmp_path: Path) -> None:
    head = MINIMAL.replace("nets:Net", "{class: nets:Net, depth: 3}")
    text = "space:\n  width: wide\n  optimizer: [rmsprop]\n  foo: 1\n"

    lines = refusal(tmp_path, text, head=head).splitlines()

    assert [line.split(": ")[:2] for line in lines] == [
        ["study.yaml:1", "model.depth"],
        ["study.yaml:5", "space.width"],
        ["study.yaml:6", "space.optimizer"],
        ["study.yaml:7", "space.foo"],
    ]


def test_an_argument_that_the_class_does_not_take_is_named_with_those_it_takes(tmp_path: Path) -> None:
    head = MINIMAL.replace("nets:Points", "{class: nets:Points, row: 3}")

    assert refusal(tmp_path, head=head) == (
        "study.yaml:2: data.row: nets:Points takes no argument 'row', did you mean 'rows'? It takes batch_size, rows"
    )


def test_a_name_that_model_and_data_both_search_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, data=WidePoints)

    assert message.startswith("study.yaml:2: data: 'width' is searched by both the model and the data")


def test_a_value_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    head = MINIMAL.replace("nets:Net", "{class: nets:Net, width: 3}")

    message = refusal(tmp_path, "space: {width: 2}\n", head=head)

    assert message == "study.yaml:4: space.width: is also given as a constructor argument; keep one of them"


def test_a_pin_among_the_constructor_arguments_is_named_there(tmp_path: Path) -> None:
    head = MINIMAL.replace("nets:Net", "{class: nets:Net, width: wide}")

    assert refusal(tmp_path, head=head).startswith("study.yaml:1: model.width: 'width': 'wide' is a text, not an int")


def test_what_goes_beyond_the_range_of_a_class_is_taken_and_told(tmp_path: Path) -> None:
    resolved = define(tmp_path, "space: {width: 99, batch_size: {high: 128}}\n")

    assert resolved.fixed["model"]["width"] == 99
    assert resolved.space["batch_size"].range == Int(1, 128)
    assert resolved.remarks == (
        "'width': 99 lies outside 1 to 8, the range of nets:Net or nets:Points",
        "'batch_size': 1 to 128 goes beyond 1 to 64, the range of nets:Net or nets:Points",
    )


# ---- studies of earlier releases


def of_an_earlier_release(resolved: ResolvedStudy) -> ResolvedStudy:
    """As its row in a store would be read."""
    plain = json.loads(resolved.to_json())
    del plain["defaults"]
    plain["spec"] |= {"epochs": 10, "early_stopping": None}
    return ResolvedStudy.from_json(json.dumps(plain), json.dumps(resolved.space.to_json()))


def test_a_study_of_an_earlier_release_keeps_its_defaults_and_goes_on_with_the_same_file(tmp_path: Path) -> None:
    resolved = define(tmp_path)
    stored = of_an_earlier_release(resolved)

    assert (stored.spec.epochs, stored.spec.early_stopping) == (10, None)
    assert stored.spec.pruner.options == {"until": 1.0}
    assert resolved.differences(stored) == []


def test_what_a_file_says_is_compared_with_an_earlier_release_too(tmp_path: Path) -> None:
    stored = of_an_earlier_release(define(tmp_path))
    resolved = define(tmp_path, "epochs: 12\npruner: {name: asha, until: 0.25}\n")

    assert [line.split(":")[0] for line in resolved.differences(stored)] == ["epochs", "pruner"]


# ---- the data that a study depends on


class FilePoints:
    """Reads files: one by default, and one that is searched."""

    def __init__(
        self,
        rows: Path = Path("rows.csv"),
        labels: str = "labels.csv",
        split: Annotated[str, Choice("split-a.csv", "split-b.csv")] = "split-a.csv",
        target: str = "y",
    ) -> None: ...


def test_the_files_of_a_study_are_those_of_its_arguments_their_defaults_and_its_choices(tmp_path: Path) -> None:
    for name in ("rows.csv", "labels.csv", "others.csv", "split-a.csv", "split-b.csv"):
        (tmp_path / name).write_text(name)

    by_default = define(tmp_path, data=FilePoints)
    given = define(
        tmp_path, data=FilePoints, head=MINIMAL.replace("nets:Points", "{class: nets:Points, labels: others.csv}")
    )

    found = [sorted(study.paths(described(data=FilePoints), tmp_path)) for study in (by_default, given)]
    assert found == [
        ["data labels.csv", "data rows.csv", "data split-a.csv", "data split-b.csv"],
        ["data others.csv", "data rows.csv", "data split-a.csv", "data split-b.csv"],
    ]
