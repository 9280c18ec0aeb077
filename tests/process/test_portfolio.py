"""`first_trial: portfolio`: the points that a model's class brings are tried first, as far as a study searches them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.ipc.fork_server import ForkServer
from hpo.queue.studies import create_or_continue
from hpo.results.study import Study
from hpo.service.prepare import PreparedStudy, prepare
from hpo.space.description import description_of
from hpo.store import Store
from hpo.study.spec import StudySpec
from hpo.study.study_file import Source
from models.cnn import CNN
from models.conv1d import Conv1d
from models.dnn import DNN
from models.recurrent import Recurrent
from models.tabm import TabM

ROOT = Path(__file__).parents[2]


def prepared(server: ForkServer, **keys: Any) -> PreparedStudy:
    plain = {
        "study": "known",
        "model": "models.dnn:DNN",
        "data": "models.data:Digits",
        "objective": "val_accuracy",
        "first_trial": "portfolio",
    }
    source = Source.of_mapping({**plain, **keys}, call="test")
    return prepare(source.study(), source, server=server, project=ROOT)


def test_the_portfolio_is_tried_after_the_defaults(server: ForkServer, tmp_path: Path) -> None:
    with prepared(server) as study, Store.create(f"sqlite:///{tmp_path}/hpo.db") as store:
        _, message = create_or_continue(store, study.resolved, points=study.portfolio)
        waiting = Study(store, "known").trials()

    assert message.endswith(f"; {1 + len(DNN.portfolio)} points are tried first")
    assert len(waiting) == 1 + len(DNN.portfolio)
    assert study.portfolio[0] == study.resolved.space.defaults()
    for point, found in zip(DNN.portfolio, study.portfolio[1:], strict=True):
        # the digits have a scaling of their own
        assert {key: value for key, value in point.items() if key != "scaling"}.items() <= found.items()
        assert study.resolved.space.contains(found)


def test_what_the_study_fixes_stays_and_points_outside_are_left_out(server: ForkServer) -> None:
    with prepared(server, space={"optimizer": "adam", "depth": {"high": 3}, "width": {"high": 64}}) as study:
        found = study.portfolio

    assert [point["width"] for point in found] == [64, 33]
    assert all("optimizer" not in point for point in found)


def test_each_of_several_models_has_its_portfolio(server: ForkServer) -> None:
    with prepared(server, model=["models.dnn:DNN", "models.cnn:CNN"]) as study:
        found = study.portfolio

    models = [point["model"] for point in found]
    assert models[:2] == ["DNN", "CNN"]
    assert models.count("DNN") == 1 + len(DNN.portfolio)
    assert all(study.resolved.space.contains(point) for point in found)


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (DNN, {"class": "models.data:Table", "source": "iris"}),
        (TabM, {"class": "models.data:Table", "source": "iris"}),
        (CNN, {"class": "models.data:Images", "source": "images.npz"}),
        (Conv1d, {"class": "models.data:Sequences", "path": "studies/data/japanese_vowels.npz"}),
        (Recurrent, {"class": "models.data:Sequences", "path": "studies/data/japanese_vowels.npz"}),
    ],
)
def test_each_family_has_a_portfolio_of_points_that_its_shortest_study_searches(
    server: ForkServer, tmp_path: Path, model: Any, data: dict[str, Any]
) -> None:
    if "source" in data and data["source"] == "images.npz":
        data = {**data, "source": str(tmp_path / "images.npz")}
        np.savez(data["source"], x=np.random.default_rng(0).random((60, 8, 8), np.float32), y=np.arange(60) % 3)
    with prepared(server, model=f"{model.__module__}:{model.__name__}", data=data, objective="val_loss") as study:
        found = study.portfolio

    assert 2 <= len(model.portfolio) <= 5
    assert len(found) == 1 + len(model.portfolio)
    for point, its in zip(model.portfolio, found[1:], strict=True):
        assert point.items() <= its.items()  # nothing of it is unknown, or of another kind of data


@pytest.mark.parametrize("first_trial", ["defaults", "sampled"])
def test_it_is_tried_only_where_a_study_asks_for_it(server: ForkServer, first_trial: str) -> None:
    with prepared(server, first_trial=first_trial) as study:
        assert not study.portfolio


def test_a_portfolio_that_is_something_else_is_none() -> None:
    class Strange(DNN):
        portfolio = property(lambda self: 3)

    class Mixed(DNN):
        portfolio = ({"depth": 2}, "depth", {"depth": object()})  # type: ignore[assignment]

    assert description_of(Strange, "model")["portfolio"] == []
    assert description_of(Mixed, "model")["portfolio"] == [{"depth": 2}]
    assert StudySpec.model_fields["first_trial"].default == "defaults"
