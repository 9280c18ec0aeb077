"""A study file's names for arguments: entries of mappings and objects, free keywords, defaults and conditions."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel

from hpo.errors import SpecError
from hpo.space import Choice, Float, Int, Owner
from hpo.space.description import description_of
from hpo.study.resolved_study import ResolvedStudy, resolve
from hpo.study.study_file import read_study


@dataclass
class Inner:
    gamma: float = 0.9
    kind: Literal["step", "cosine"] = "step"


@dataclass
class Config:
    width: int = 8
    rate: float = 1e-3
    inner: Inner = field(default_factory=Inner)


class Options(BaseModel):
    depth: int = 2
    skip: bool = False


class Net:
    def __init__(
        self,
        config: Config = Config(width=16),  # noqa: B008
        options: Options | None = None,
        optim: dict[str, Any] = {"name": "adam", "lr": 0.01},  # noqa: B006
        flags: Namespace = Namespace(verbose=False),  # noqa: B008
        net: Any = None,
        momentum: float = 0.9,
        optimizer: Annotated[str, Choice("adam", "sgd")] = "adam",
        beta: Annotated[float, Float(0, 1)] = 0.5,
        alpha: Any = 3,
    ) -> None: ...


class Data:
    def __init__(self, batch_size: int = 8) -> None: ...


class Free:
    def __init__(self, **kwargs: Any) -> None: ...


def define(folder: Path, text: str, *, model: type[Any] = Net, changes: Sequence[str] = ()) -> ResolvedStudy:
    file = folder / "study.yaml"
    head = "" if "model:" in text else "model: nets:Net\n"
    file.write_text(f"{head}data: nets:Data\nobjective: {{metric: val_loss, direction: minimize}}\n{text}")
    spec, source = read_study(file, changes=changes)
    owners: dict[Owner, type[Any]] = {"model": model, "data": Data}
    plain = {owner: description_of(cls, owner) for owner, cls in owners.items()}
    return resolve(spec, json.loads(json.dumps(plain)), source)


def refusal(folder: Path, text: str, **options: Any) -> str:
    with pytest.raises(SpecError) as caught:
        define(folder, text, **options)
    return str(caught.value).replace(f"{folder}/", "")


# ---- entries


def test_entries_have_the_types_and_defaults_of_their_fields(tmp_path: Path) -> None:
    text = "space: {config.width: {low: 4, high: 32}, config.rate: {low: 0, high: 1}, config.inner.kind: [step]}"

    space = define(tmp_path, text).space

    assert space["config.width"].range == Int(4, 32)
    assert space["config.width"].default == 16  # of the instance that is the argument's default
    assert space["config.rate"].range == Float(0, 1)
    assert space["config.inner.kind"].default == "step"


def test_entries_may_be_written_in_the_mapping(tmp_path: Path) -> None:
    nested = (
        "space:\n  config: {width: {low: 4, high: 32}, inner: {gamma: {low: 0, high: 1}}}\n  optim: {lr: [0.1, 1.0]}\n"
    )
    flat = "space: {config.width: {low: 4, high: 32}, config.inner.gamma: {low: 0, high: 1}, optim.lr: [0.1, 1.0]}"

    assert define(tmp_path, nested).space == define(tmp_path, flat).space


def test_the_values_of_the_model_section_are_the_defaults_of_its_entries(tmp_path: Path) -> None:
    text = "model: {class: nets:Net, optim: {name: sgd, lr: 0.3}, config: {rate: 0.1}}\n"
    space = "space: {optim.lr: {low: 0, high: 1}, config.rate: {low: 0, high: 1}, config.width: [8, 16]}"

    resolved = define(tmp_path, text + space)

    assert resolved.space.defaults()["optim.lr"] == 0.3
    assert resolved.space.defaults()["config.rate"] == 0.1
    assert resolved.fixed["model"] == {"optim": {"name": "sgd", "lr": 0.3}, "config": {"rate": 0.1}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "space: {config.widht: [1, 2]}",
            "space.config.widht: 'config' has no 'widht', did you mean 'width'? It has width, rate, inner",
        ),
        (
            "space:\n  config:\n    inner: {gama: [1.0]}",
            "study.yaml:6: space.config.inner.gama: 'config.inner' has no 'gama', did you mean 'gamma'? It has",
        ),
        ("space: {options.skipp: [true]}", "'options' has no 'skipp', did you mean 'skip'? It has depth, skip"),
        ("space: {options.skip: [1, 2]}", "'options.skip': 1 is not one of False, True"),
        ("space: {config.width: [1.5]}", "'config.width': 1.5 is not an integer"),
        ("space: {momentum.x: [1]}", "'momentum' of nets:Net has no entries, so there is no 'x'"),
        ("space: {optin.lr: [1]}", "'optin.lr' is not searched by nets:Net or nets:Data"),
        (
            "model: {class: nets:Net, config: {width: 3, layers: 2}}",
            "study.yaml:3: model.config.layers: 'config' has no 'layers'. It has width, rate, inner",
        ),
        (
            "model: {class: nets:Net, optim: 3}\nspace: {optim.lr: [0.1]}",
            "'optim' is 3 in model:, which has no entries",
        ),
        ("space: {optim: {lr: [0.1]}, optim.lr: [0.2]}", "'optim.lr' is given twice, also as optim.lr"),
        ("space: {alpha: {hihg: 3}}", "'alpha': 'hihg' is not known here, did you mean 'high'?"),
    ],
)
def test_what_has_no_such_entry_is_refused_with_the_nearest_name(text: str, words: str, tmp_path: Path) -> None:
    assert words in refusal(tmp_path, text)


def test_a_mapping_and_a_namespace_take_new_entries(tmp_path: Path) -> None:
    space = define(tmp_path, "space: {optim.weight_decay: {low: 0.0, high: 0.1}, flags.deep: [true, false]}").space

    assert space.names == ("optimizer", "beta", "optim.weight_decay", "flags.deep")


def test_a_change_names_an_entry_as_the_file_does(tmp_path: Path) -> None:
    text = "space:\n  optim.lr: {low: 0.1, high: 1.0}\n  config: {rate: {low: 0.1, high: 1.0}}\n"
    changes = ["space.optim.lr.low=0.5", "space.config.rate.high=0.7", "space.config.inner.gamma=0.5"]

    resolved = define(tmp_path, text, changes=[*changes, "model.optim.name=sgd"])

    assert resolved.space["optim.lr"].range == Float(0.5, 1.0)
    assert resolved.space["config.rate"].range == Float(0.1, 0.7)
    assert resolved.fixed["model"] == {"config.inner.gamma": 0.5, "optim.name": "sgd"}


# ---- keywords


def test_free_keywords_are_searched_and_given(tmp_path: Path) -> None:
    text = "model: {class: nets:Free, note: x, size: 3}\nspace: {hidden: [3, 4], size: {low: 1, high: 5}}"

    resolved = define(tmp_path, text, model=Free)

    assert resolved.space.names == ("hidden", "size")
    assert resolved.space["size"].default == 3
    assert resolved.arguments("model", {"hidden": 3, "size": 2}) == {"note": "x", "hidden": 3, "size": 2}


def test_a_name_that_the_data_takes_is_not_one_of_the_models_keywords(tmp_path: Path) -> None:
    resolved = define(tmp_path, "space: {batch_size: [4, 8], x: [1, 2]}", model=Free)

    assert [parameter.owner for parameter in resolved.space.values()] == ["data", "model"]


# ---- defaults and conditions


def test_a_file_gives_a_default(tmp_path: Path) -> None:
    space = define(tmp_path, "space: {momentum: {low: 0, high: 1, default: 0.2}, beta: {default: 0.1}}").space

    assert space.defaults() == {"optimizer": "adam", "beta": 0.1, "momentum": 0.2}


def test_a_file_gives_a_condition_before_or_after_its_parent(tmp_path: Path) -> None:
    text = "space: {momentum: {low: 0, high: 0.99, when: {kind: sgd}}, kind: [adam, sgd], beta: {when: {kind: [sgd]}}}"
    text = text.replace("kind", "alpha")

    resolved = define(tmp_path, text)

    assert resolved.space.names == ("optimizer", "alpha", "beta", "momentum")
    assert resolved.space["momentum"].when == {"alpha": ("sgd",)}
    assert resolved.space["beta"].when == {"alpha": ("sgd",)}
    assert resolved.fixed["model"] == {}  # while inactive, the constructor's own defaults


def test_a_default_of_the_file_holds_while_a_parameter_is_inactive(tmp_path: Path) -> None:
    text = "space: {momentum: {low: 0, high: 0.99, default: 0.3, when: {optimizer: sgd}}}"

    resolved = define(tmp_path, text)

    assert resolved.arguments("model", {"optimizer": "adam", "beta": 0.5}) == {
        "momentum": 0.3,
        "optimizer": "adam",
        "beta": 0.5,
    }
    assert resolved.arguments("model", {"optimizer": "sgd", "momentum": 0.9})["momentum"] == 0.9


def test_a_condition_on_what_is_fixed_is_decided_at_once(tmp_path: Path) -> None:
    condition = "space: {momentum: {low: 0, high: 1, when: {optimizer: sgd}}, beta: {when: {alpha: 3}}}"

    def names(model: str) -> tuple[str, ...]:
        return define(tmp_path, f"model: {{class: nets:Net, {model}}}\n{condition}").space.names

    assert names("optimizer: sgd, alpha: 3") == ("beta", "momentum")
    assert names("optimizer: adam, alpha: 3") == ("beta",)
    assert names("optimizer: sgd, alpha: 4") == ("momentum",)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (
            "{momentum: {low: 0, high: 1, when: {optimzer: sgd}}}",
            "neither searched nor fixed by the study, did you mean",
        ),
        (
            "{momentum: {low: 0, high: 1, when: {optimizer: sdg}}}",
            "is active when 'optimizer' is 'sdg', which is not one",
        ),
        ("{momentum: {low: 0, high: 1, when: {beta: 0.5}}}", "a condition needs a choice or an integer"),
        ("{momentum: {low: 0, high: 1, when: sgd}}", "when names parameters and their values"),
        ("{momentum: {low: 0, high: 1, when: {momentum: 1}}}", "'momentum' depends on itself"),
        (
            "{momentum: {choices: [1, 2], when: {alpha: 1}}, alpha: {choices: [1, 2], when: {momentum: 1}}}",
            "'momentum' and 'alpha' depend on each other",
        ),
        ("{config.width: {low: 1, high: 3, default: 9}}", "the default 9 lies outside 1 to 3"),
    ],
)
def test_a_condition_that_cannot_be_is_refused(space: str, words: str, tmp_path: Path) -> None:
    assert words in refusal(tmp_path, f"space: {space}")


def test_a_condition_without_any_default_is_refused(tmp_path: Path) -> None:
    text = "space: {x: {low: 0, high: 1, when: {kind: a}}, kind: [a, b]}"

    assert "space.x: 'x' has a condition, so it needs a default" in refusal(tmp_path, text, model=Free)


# ---- the store


def test_entries_lists_and_conditions_survive_the_store(tmp_path: Path) -> None:
    condition = "momentum: {low: 0, high: 1, when: {optimizer: sgd}}"
    text = f"space: {{optim: [{{name: a}}, {{name: b}}], config.width: [4, 8], {condition}}}"
    resolved = define(tmp_path, text)

    stored = ResolvedStudy.from_json(resolved.to_json(), json.dumps(resolved.space.to_json()))

    assert stored == resolved
    assert resolved.differences(stored) == []
