"""The curves of some trials."""

from __future__ import annotations

import pytest
from projects.synthetic import Claimant, begin_next, create_study

from hpo.errors import HpoError, SpecError, StoreError
from hpo.service.curves import read_curves_of
from hpo.store import Store


def test_the_best_five_and_those_that_run_are_drawn_unless_some_are_named(sqlite_store: Store) -> None:
    worker = Claimant(sqlite_store, create_study(sqlite_store))
    for number in range(7):
        worker.finish(begin_next(worker, 0.25, number / 8), number / 8, best_epoch=2)
    begin_next(worker, 0.125)

    found = read_curves_of(sqlite_store, "synthetic", [])
    named = read_curves_of(sqlite_store, "synthetic", [0, 7], metric="val_loss")

    assert [record.number for record, _ in found.curves] == [6, 5, 4, 3, 2, 7]
    assert (found.metric, found.unit) == ("val_accuracy", "epoch")
    assert found.curves[0][1] == ((1, 0.25), (2, 0.75))
    assert [(record.number, points) for record, points in named.curves] == [
        (0, ((1, 0.75), (2, 1.0))),
        (7, ((1, 0.875),)),
    ]


def test_what_is_not_there_is_named(sqlite_store: Store) -> None:
    worker = Claimant(sqlite_store, create_study(sqlite_store))
    with pytest.raises(HpoError, match="no trial of study 'synthetic' has a curve yet"):
        read_curves_of(sqlite_store, "synthetic", [])
    begin_next(worker, 0.5)

    with pytest.raises(StoreError, match="study 'synthetic' has no trial 3"):
        read_curves_of(sqlite_store, "synthetic", [3])
    with pytest.raises(SpecError, match=r"'val_los', did you mean 'val_loss'\? It has val_accuracy, val_loss"):
        read_curves_of(sqlite_store, "synthetic", [], metric="val_los")
