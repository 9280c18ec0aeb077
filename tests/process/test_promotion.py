"""Trials are paused at a rung and promoted when among the best: by several workers, with kills, to an exact end."""

from __future__ import annotations

import random
import signal
from collections import Counter
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import TrialState
from projects.launch import Hpo, finish, trial_processes, wait_for
from projects.service import invoke
from projects.synthetic import Claimant, create_study
from sqlalchemy import select

from hpo.queue.claim import Claim
from hpo.queue.idle import end_paused_trials, standstill
from hpo.results.study import Study
from hpo.search.rungs import Verdict
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import hpo_attempts, hpo_epochs, trials

TRIALS = 12
EPOCHS = 9
PROMOTE = {"name": "asha", "mode": "promote", "eta": 3, "min_epochs": 1}


def train(worker: Claimant, claim: Claim, quality: float) -> None:
    """Until its end or the next rung at which it waits."""
    if claim.params is None:
        worker.begin(claim)
    for epoch in range(len(worker.history.curve(claim.number)) + 1, EPOCHS + 1):
        is_hopeless, is_ours = worker.report(claim, epoch, quality * epoch / EPOCHS)
        assert is_ours
        if is_hopeless and epoch < EPOCHS:
            worker.pause_at_rung(claim)
            return
    assert worker.finish(claim, quality)


def test_workers_promote_each_others_trials_and_end_with_the_exact_number(store: Store) -> None:
    study = create_study(store, pruner=PROMOTE, epochs=EPOCHS, budget={"trials": TRIALS})
    workers = [Claimant(store, study) for _ in range(3)]
    draw = random.Random(0)
    qualities = [draw.random() for _ in range(TRIALS)]

    trained_by: dict[int, set[int]] = {number: set() for number in range(TRIALS)}
    while True:
        worker = draw.choice(workers)
        worker.history.sync()
        claim = worker.claim()
        if claim is None:
            newest = standstill(store, study.study_id)
            assert newest is not None
            claim = worker.claim(is_last=True)
            if claim is None:
                ended = end_paused_trials(store, study.study_id, since=newest)
                break
        trained_by[claim.number].add(worker.worker_id)
        train(worker, claim, qualities[claim.number])

    records = Study(store, study.name).trials()
    by_state = Counter(str(record.state) for record in records)
    assert len(records) == TRIALS
    assert by_state["complete"] + by_state["pruned"] == TRIALS
    assert sorted(ended) == [record.number for record in records if record.state == "pruned"]
    assert records[qualities.index(max(qualities))].state == "complete"
    assert any(len(ids) > 1 for ids in trained_by.values())
    for record in records:
        assert record.epochs in ((EPOCHS,) if record.state == "complete" else (1, 3))
        assert record.value == pytest.approx(qualities[record.number] * record.epochs / EPOCHS)
    assert sum(record.epochs for record in records) < 0.6 * TRIALS * EPOCHS
    # Optuna's own view is whole
    with optuna_storage(store.url) as storage:
        seen = Counter(trial.state for trial in optuna.load_study(study_name=study.name, storage=storage).trials)
    assert seen == {TrialState.COMPLETE: by_state["complete"], TrialState.PRUNED: by_state["pruned"]}


@pytest.mark.parametrize(("slots", "count"), [(1, 27), (64, 96)], ids=["one slot", "64 slots"])
def test_trials_are_paused_and_promoted_with_one_slot_and_with_64(store: Store, slots: int, count: int) -> None:
    study = create_study(store, pruner=PROMOTE, sampler="random", epochs=EPOCHS, budget={"trials": count})
    workers = [Claimant(store, study) for _ in range(max(1, slots // 4))]
    draw = random.Random(0)
    qualities = [draw.random() for _ in range(count)]

    running: list[tuple[Claimant, Claim, int]] = []  # with the epoch that is next
    most_at_once = 0
    while True:
        while len(running) < slots:
            worker = workers[len(running) % len(workers)]
            worker.history.sync()
            claim = worker.claim() or (None if running else worker.claim(is_last=True))
            if claim is None:
                break
            if claim.params is None:
                worker.begin(claim)
            running.append((worker, claim, len(worker.history.curve(claim.number)) + 1))
        if not running:
            break
        most_at_once = max(most_at_once, len(running))
        worker, claim, epoch = running.pop(draw.randrange(len(running)))
        is_hopeless, is_ours = worker.report(claim, epoch, qualities[claim.number] * epoch / EPOCHS)
        assert is_ours
        if epoch == EPOCHS:
            assert worker.finish(claim, qualities[claim.number])
        elif is_hopeless and worker.history.rungs.verdict(claim.number, epoch) == Verdict.PAUSE:  # type: ignore[union-attr]
            worker.pause_at_rung(claim)
        elif is_hopeless:
            assert worker.finish(claim, qualities[claim.number] * epoch / EPOCHS, state="PRUNED")
        else:
            running.append((worker, claim, epoch + 1))
    newest = standstill(store, study.study_id)
    assert newest is not None
    end_paused_trials(store, study.study_id, since=newest)

    records = Study(store, study.name).trials()
    by_state = Counter(str(record.state) for record in records)
    assert most_at_once == slots
    assert by_state["complete"] + by_state["pruned"] == len(records) == count
    assert records[qualities.index(max(qualities))].state == "complete"
    assert any(record.attempts > 1 for record in records)
    assert sum(record.epochs for record in records) < 0.5 * count * EPOCHS


def test_paused_trials_are_not_ended_while_a_trial_runs_or_was_claimed(store: Store) -> None:
    study = create_study(store, pruner=PROMOTE, epochs=EPOCHS, budget={"trials": 2})
    first, second = Claimant(store, study), Claimant(store, study)
    claims = [first.claim(), second.claim()]
    assert claims[0] is not None
    assert claims[1] is not None
    train(first, claims[0], 0.5)
    assert standstill(store, study.study_id) is None  # the second still trains

    train(second, claims[1], 0.6)
    newest = standstill(store, study.study_id)
    assert newest is not None
    first.history.sync()
    assert first.claim() is None
    taken = first.claim(is_last=True)
    assert taken is not None
    assert (taken.number, taken.is_promoted, taken.attempt) == (1, True, 2)

    assert end_paused_trials(store, study.study_id, since=newest) == []
    train(first, taken, 0.6)
    assert [record.state for record in Study(store, study.name).trials()] == ["paused", "paused"]


def test_samplers_learn_from_a_paused_trial_until_it_is_promoted(store: Store) -> None:
    study = create_study(store, pruner=PROMOTE, epochs=EPOCHS, budget={"trials": 3})
    worker, other = Claimant(store, study), Claimant(store, study)
    for quality in (0.3, 0.6, 0.9):
        claim = worker.claim()
        assert claim is not None
        train(worker, claim, quality)
    other.history.sync()
    assert [trial.state for trial in other.history._study.trials] == [TrialState.PRUNED] * 3
    assert [record.state for record in Study(store, study.name).trials()] == ["paused"] * 3
    assert [record.epochs for record in Study(store, study.name).trials()] == [1, 1, 3]  # the best of three went on

    other.history.sync()
    claim = other.claim(is_last=True)
    assert claim is not None
    assert other.history._study.trials[claim.number].state == TrialState.RUNNING
    worker.history.sync()
    assert worker.history._study.trials[claim.number].state == TrialState.RUNNING


def trained_twice(hpo: Hpo, study: str) -> list[tuple[int, int]]:
    """(trial, epoch) that stand in the store more often than once: none can."""
    with Store.open(hpo.url) as store, store.read() as connection:
        rows = connection.execute(
            select(trials.c.number, hpo_epochs.c.epoch).join(trials, trials.c.trial_id == hpo_epochs.c.trial_id)
        ).all()
    return [(number, epoch) for (number, epoch), count in Counter(map(tuple, rows)).items() if count > 1]


def kinds(hpo: Hpo) -> Counter[str]:
    with Store.open(hpo.url) as store, store.read() as connection:
        return Counter(connection.scalars(select(hpo_attempts.c.kind)))


def test_a_killed_worker_changes_nothing_about_how_a_promoting_study_ends(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    file = hpo.study(
        "halving",
        model={"class": "projects.nets:Line", "seconds": 0.05},
        pruner=PROMOTE,
        epochs=EPOCHS,
        budget={"trials": TRIALS},
    )
    first = hpo.start("run", file, "--slots", 2)
    wait_for(lambda: hpo.counts("halving").get("paused", 0) >= 3 and trial_processes(first))
    psutil.Process(first.pid).send_signal(signal.SIGKILL)
    first.communicate()

    code, output = finish(hpo.start("run", file, "--slots", 2))

    records = hpo.trials("halving")
    assert code == 0, output
    assert "paused at its rung after epoch 1" in output
    assert hpo.counts("halving").keys() == {"complete", "pruned"}
    assert len(records) == TRIALS
    assert not trained_twice(hpo, "halving")
    assert kinds(hpo)["at rung"] >= TRIALS // 2
    assert any(record.attempts > 1 for record in records)  # what was killed, at least
    for record in records:
        folder = next((tmp_path / "art").glob(f"*/{record.number:05d}"))
        assert not list(folder.glob("last.ckpt"))
        assert bool(list(folder.glob("best.ckpt"))) == (record.checkpoint is not None)
    assert invoke(hpo, "doctor")[0] == 0


def test_a_trial_paused_at_a_rung_can_be_resumed_or_stopped(tmp_path: Path) -> None:
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    slow = {"class": "projects.nets:Line", "seconds": 0.1}  # so that those that wait do so for a while
    file = hpo.study("steered", model=slow, pruner=PROMOTE, epochs=EPOCHS, budget={"trials": TRIALS})
    process = hpo.start("run", file, "--slots", 1)
    waiting = wait_for(lambda: [record.number for record in hpo.trials("steered") if record.state == "paused"][:2])
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)

    answers = [invoke(hpo, verb, "steered", number) for verb, number in zip(("resume", "stop"), waiting, strict=False)]
    assert [code for code, _ in answers] == [0] * len(answers)
    code, output = finish(hpo.start("run", file, "--slots", 2))

    assert code == 0, output
    assert hpo.trials("steered")[waiting[0]].attempts >= 2
    assert len(hpo.trials("steered")) == TRIALS
