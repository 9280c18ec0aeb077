"""Arguments from the data module: marked, sent as plain data, filled in by a trial, overridden by a study."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import pytest
from pytorch_lightning import LightningDataModule, LightningModule

from hpo.errors import LoadError, SpecError
from hpo.space import Argument, Choice, FromData, Int, SearchSpace, When, arguments_of
from hpo.study.job import StudyJob
from hpo.study.resolved_study import ResolvedStudy, resolve
from hpo.study.study_file import read_study
from hpo.training.arguments import given_by_data, recorded
from hpo.training.describe import describe


class Net(LightningModule):
    """`features` is needed, `task` and `counts` are taken where they are there, `bias` never."""

    def __init__(
        self,
        features: int,
        width: Annotated[int, Int(1, 8)] = 2,
        task: Annotated[str, FromData()] = "multiclass",
        counts: Annotated[tuple[int, ...], FromData()] = (),
        bias: bool = True,
    ) -> None:
        super().__init__()


class Rows(LightningDataModule):
    features = 4
    task = "binary"
    bias = False

    def __init__(self, batch_size: Annotated[int, Int(1, 64)] = 8) -> None:
        super().__init__()


MINIMAL = f"""\
model: {{class: "{__name__}:Net"}}
data: {{class: "{__name__}:Rows"}}
objective: {{metric: val_loss, direction: minimize}}
"""


def defined(tmp_path: Path, more: str = "", model: str = "") -> ResolvedStudy:
    file = tmp_path / "study.yaml"
    file.write_text((MINIMAL + more).replace(':Net"', f':Net"{model}'))
    labels = {"model": f"{__name__}:Net", "data": f"{__name__}:Rows"}
    answer = describe(StudyJob(str(Path(__file__).parent), labels))
    spec, source = read_study(file)
    return resolve(spec, json.loads(json.dumps(answer))["classes"], source)


def filled_in(resolved: ResolvedStudy) -> dict[str, Any]:
    arguments = resolved.arguments("model", resolved.space.defaults())
    return arguments | given_by_data(Net, arguments, Rows())


def test_the_mark_is_read_and_is_no_range() -> None:
    assert {argument.name: argument.is_from_data for argument in arguments_of(Net)} == {
        "features": False,
        "width": False,
        "task": True,
        "counts": True,
        "bias": False,
    }
    assert list(SearchSpace.of(Net)) == ["width"]


def test_the_mark_survives_json() -> None:
    for argument in arguments_of(Net):
        plain = json.loads(json.dumps(asdict(argument)))
        assert plain["is_from_data"] is argument.is_from_data
        assert Argument(**{**plain, "choices": tuple(plain["choices"])}).is_from_data is argument.is_from_data


class Choosy(LightningModule):
    """`counts` is taken while `task` is a search for classes."""

    def __init__(
        self,
        task: Annotated[str, Choice("classes", "values")] = "values",
        counts: Annotated[tuple[int, ...], FromData(), When(task="classes")] = (),
    ) -> None:
        super().__init__()


class Counted(LightningDataModule):
    counts = (3, 4)


def test_a_condition_beside_the_mark_says_when_it_is_taken() -> None:
    assert list(SearchSpace.of(Choosy)) == ["task"]
    assert given_by_data(Choosy, {"task": "classes"}, Counted()) == {"counts": (3, 4)}
    assert given_by_data(Choosy, {"task": "values"}, Counted()) == given_by_data(Choosy, {}, Counted()) == {}


def test_the_record_of_a_trial_is_without_long_lists_that_the_data_gave() -> None:
    given = {"edges": [0.5] * 1000, "counts": (3, 4)}
    arguments = {"width": 2, "sizes": [1] * 1000, **given}
    assert recorded(arguments, given) == {"width": 2, "sizes": [1] * 1000, "counts": [3, 4]}


def test_a_condition_on_what_is_no_argument_is_refused() -> None:
    def net(counts: Annotated[int, FromData(), When(tasks="classes")] = 1) -> None: ...

    with pytest.raises(SpecError, match="'counts' depends on 'tasks', but there is no such argument"):
        arguments_of(net)


def test_a_mark_without_brackets_is_refused() -> None:
    def net(task: Annotated[str, FromData] = "binary") -> None: ...

    with pytest.raises(SpecError, match=r"'task': write FromData\(...\), not FromData"):
        SearchSpace.of(net)


def test_a_trial_takes_from_the_data_what_is_needed_or_marked_and_there(tmp_path: Path) -> None:
    assert filled_in(defined(tmp_path)) == {"width": 2, "features": 4, "task": "binary"}


def test_a_study_file_has_the_last_word(tmp_path: Path) -> None:
    explicit = defined(tmp_path, model=", task: regression, features: 7, counts: [1, 2]")
    assert filled_in(explicit) == {"width": 2, "features": 7, "task": "regression", "counts": [1, 2]}


def test_a_study_file_may_search_what_would_be_given(tmp_path: Path) -> None:
    searched = defined(tmp_path, "space: {task: [binary, multiclass]}\n")
    assert {"task", "width"} <= set(searched.space)
    arguments = searched.arguments("model", {"task": "multiclass", "width": 3})
    assert arguments | given_by_data(Net, arguments, Rows()) == {"width": 3, "features": 4, "task": "multiclass"}


def test_the_error_of_a_missing_argument_shows_how_to_give_it() -> None:
    class Bare(LightningDataModule):
        pass

    with pytest.raises(LoadError, match=r"Net needs 'features': .* \(model: \{class: ..., features: ...\}\), and Bare"):
        given_by_data(Net, {}, Bare())
