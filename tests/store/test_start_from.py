"""Points of a study file and earlier studies enter a study with its creation: once, and as every worker sees them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from projects.synthetic import SPACE, Claimant, begin_next, create_study, make_spec
from sqlalchemy import select

from hpo.errors import SpecError
from hpo.queue.enqueue import Point, enqueue_points
from hpo.queue.findings import earlier_of
from hpo.queue.studies import StoredStudy, create_or_continue
from hpo.service.earlier import read_earlier
from hpo.space import SearchSpace
from hpo.store import Store
from hpo.store.tables import hpo_findings, hpo_studies, trial_system_attributes, trials
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.study_file import Source, read_study

POINTS: list[dict[str, Any]] = [
    {"lr": 0.05, "depth": 4},
    {"optimizer": "sgd", "momentum": 0.5},
    {"lr": 0.05, "depth": 4},
]


def resolved_of(space: SearchSpace = SPACE, **keys: object) -> ResolvedStudy:
    return ResolvedStudy(make_spec(**keys), space, {"model": {}, "data": {}})


def waiting(store: Store) -> list[dict[str, Any]]:
    with store.read() as connection:
        found = connection.scalars(
            select(trial_system_attributes.c.value_json)
            .join(trials, trials.c.trial_id == trial_system_attributes.c.trial_id)
            .where(trials.c.state == "WAITING", trial_system_attributes.c.key == "fixed_params")
            .order_by(trials.c.number)
        )
        return [json.loads(text) for text in found]


def read(store: Store, resolved: ResolvedStudy, folder: Path = Path()) -> object:
    return read_earlier(store, resolved, Source.of_stored("new"), project=folder)


@pytest.fixture
def old(store: Store) -> StoredStudy:
    """With five complete trials, the later the better, and one that failed."""
    study = create_study(store, study="old", sampler="random")
    worker = Claimant(store, study)
    for number in range(5):
        worker.finish(begin_next(worker, 0.1 * number), 0.1 * number)
    worker.finish(begin_next(worker), None, state="FAIL")
    return study


# ---- points


def test_points_of_the_file_are_the_first_trials_each_once(store: Store) -> None:
    study, message = create_or_continue(store, resolved_of(points=POINTS, sampler="random"))
    workers = [Claimant(store, study), Claimant(store, study)]

    claims = [(worker, claim) for worker in (*workers, *workers) if (claim := worker.claim()) is not None]
    params = [worker.begin(claim) for worker, claim in claims]

    assert message == "study synthetic created: 100 trials; 2 points are tried first"
    assert POINTS[0].items() <= params[0].items()
    assert POINTS[1].items() <= params[1].items()
    assert sum(point["lr"] == 0.05 for point in params) == 1


def test_a_study_that_goes_on_gets_only_the_points_that_are_new_in_its_file(store: Store) -> None:
    create_or_continue(store, resolved_of(points=POINTS))

    create_or_continue(store, resolved_of(points=POINTS))
    _, message = create_or_continue(store, resolved_of(points=[*POINTS, {"depth": 1}]))
    create_or_continue(store, resolved_of(points=[*POINTS, {"depth": 1}]))

    assert message == "study synthetic continued: 0 of 100 trials ended; 1 new point waits"
    assert waiting(store) == [*POINTS[:2], {"depth": 1}]
    assert enqueue_points(store, "synthetic", [Point({"depth": 1})]).numbers == (2,)


def test_points_and_earlier_studies_are_no_part_of_a_grid(tmp_path: Path) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text(
        "model: a:B\ndata: c:D\nobjective: val_loss\nsampler: grid\npoints: [{lr: 1e-3}]\nstart_from: old\n"
    )

    with pytest.raises(SpecError) as raised:
        read_study(file)

    assert str(raised.value).splitlines() == [
        f"{file}:{line}: {key}: sampler: grid tries every point of its space: leave this out"
        for line, key in ((5, "points"), (6, "start_from"))
    ]


def test_what_is_no_list_of_points_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("model: a:B\ndata: c:D\nobjective: val_loss\npoints: {lr: 1e-3}\nstart_from: [3]\n")

    with pytest.raises(SpecError) as raised:
        read_study(file)

    assert "points: should be a list, such as [{lr: 1.0e-3}]" in str(raised.value)
    assert "start_from: should be a list, such as [digits-dnn]" in str(raised.value)


# ---- earlier studies


def test_an_earlier_study_is_read_once_and_kept_with_the_new_one(store: Store, old: StoredStudy) -> None:
    resolved = resolved_of(start_from=["old"], sampler="random")
    earlier = read_earlier(store, resolved, Source.of_stored("new"), project=Path())
    assert earlier is not None

    study, message = create_or_continue(store, resolved, points=earlier.best_points(), earlier=earlier)

    assert message.splitlines() == [
        "start_from old: 5 of its 5 finished trials fit",
        "study synthetic created: 100 trials; 3 points are tried first",
    ]
    with store.read() as connection:
        assert earlier_of(connection, study.study_id) == earlier
        assert earlier_of(connection, old.study_id) is None
    best = Claimant(store, old).history
    best.sync()
    assert waiting(store)[0] == best._memory.get_trial(4).params


def test_a_study_in_another_store_is_found_and_no_password_is_kept(
    store: Store, old: StoredStudy, tmp_path: Path
) -> None:
    secret = "s3cret-word"
    with Store.create(f"sqlite:///{tmp_path}/new.db") as new:
        if not store.url.is_sqlite:
            file = tmp_path / "password"
            file.write_text(secret)
            bad = store.url.reveal().replace("postgres@", f"postgres:{secret}@")
            with pytest.raises(SpecError, match="a study file holds no password") as raised:
                read(new, resolved_of(start_from=[f"old@{bad}"]))
            assert secret not in str(raised.value)
        resolved = resolved_of(start_from=[f"old@{store.url.reveal()}"])
        earlier = read_earlier(new, resolved, Source.of_stored("new"), project=tmp_path)
        create_or_continue(new, resolved, earlier=earlier)
        with new.read() as connection:
            kept = [
                *connection.scalars(select(hpo_findings.c.content)),
                *connection.scalars(select(hpo_studies.c.spec)),
            ]

    assert earlier is not None
    assert len(earlier.trials) == 5
    assert secret not in "".join(kept)


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("odl", "the store has no study 'odl', did you mean 'old'?"),
        ("old@sqlite:///none.db", "there is no store"),
        ("old@postgresql://user:s3cret@/db", "a study file holds no password"),
        ("old@postgresql:///db?user=a&password=s3cret", "a study file holds no password"),
        ("old@postgresql://user:s3cret@@host/db", "a study file holds no password"),
        ("old@postgresql://user:s3cret@host:port/db", "a study file holds no password"),
        ("old@user:s3cret@host/db", "a study file holds no password"),
    ],
)
def test_an_earlier_study_that_is_not_there_is_refused(
    store: Store, old: StoredStudy, tmp_path: Path, named: str, reason: str
) -> None:
    with pytest.raises(SpecError) as raised:
        read(store, resolved_of(start_from=[named]), tmp_path)

    assert "start_from.0: " in str(raised.value)
    assert reason in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_a_password_on_the_command_line_is_not_told(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("model: a:B\ndata: c:D\nobjective: val_loss\n")

    with pytest.raises(SpecError) as raised:
        read_study(file, changes=["start_from={old@user:s3cret@host/db: 1}"])

    assert "--set start_from=...: start_from: should be a list" in str(raised.value)
    assert "s3cret" not in str(raised.value)


def test_trials_before_a_change_are_not_taken_over(store: Store, old: StoredStudy) -> None:
    with store.write() as connection:
        from hpo.queue.accept import accept_changes

        accept_changes(connection, old.study_id, "old", ["code nets.py: other contents"])

    with pytest.raises(SpecError, match="start_from old: it has no finished trial"):
        read(store, resolved_of(start_from=["old"]))
