"""What happened in a study is written once, whoever looks; it is taken by one, and sent to each target."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from projects.synthetic import Claimant, begin_next, create_study
from sqlalchemy import event, select, update
from stores import ask_study

from hpo.doctor.finding import CheckContext
from hpo.doctor.notifications import check_notifications
from hpo.queue import notifications
from hpo.queue.control import set_limits
from hpo.queue.leases import expire_leases
from hpo.queue.notifications import MOST_TRIES, note_delivered, save_store_targets, settle, take
from hpo.queue.occasions import record, signs
from hpo.queue.progress import load_progress
from hpo.queue.studies import StoredStudy
from hpo.queue.told import told_of
from hpo.store import Store
from hpo.store.tables import hpo_attempts, hpo_notifications
from hpo.study.notify import NotifyEvent, targets_of
from hpo.worker.poll import poll_store

EVERYTHING = [one.value for one in NotifyEvent]
HOOK = {"webhook": "http://127.0.0.1:9/"}
ALL = {**HOOK, "on": EVERYTHING, "failures": 2}


def look(store: Store, study: StoredStudy) -> list[tuple[str, str]]:
    return [(one.event.value, one.occasion) for one in record(store, study.study_id, created=study.created)]


def contents(store: Store) -> list[dict[str, Any]]:
    with store.read() as connection:
        rows = connection.scalars(select(hpo_notifications.c.content).order_by(hpo_notifications.c.notification_id))
        return [json.loads(row) for row in rows]


def make_due(store: Store) -> None:
    """As if the pause, or the lease, had passed."""
    with store.write() as connection:
        connection.execute(update(hpo_notifications).values(lease_until=1.0))


def told(store: Store, study: StoredStudy) -> str:
    with store.read() as connection:
        return str(told_of(connection)[study.study_id])


def test_each_event_is_written_once_with_the_state_of_its_study(store: Store) -> None:
    study = create_study(store, budget={"trials": 4}, notify=[ALL])
    worker = Claimant(store, study)

    assert look(store, study) == []
    worker.finish(begin_next(worker, 0.5), 0.5)
    first = look(store, study)
    worker.finish(begin_next(worker, 0.4), 0.4)  # worse
    second = look(store, study)
    for _ in range(2):
        worker.finish(begin_next(worker), None, state="FAIL", cause="error: ValueError", error="ValueError: \x1b[31mno")
    last = look(store, study)

    assert first == [("new_best", "trial 0")]
    assert second == []
    assert last == [("failures_in_a_row", "2 since trial 1"), ("finished", "4 trials, running")]
    assert look(store, study) == []
    found = contents(store)
    assert [one["event"] for one in found] == ["new_best", "failures_in_a_row", "finished"]
    assert found[0]["best"]["trial"] == 0
    assert found[0]["best"]["values"] == {"val_accuracy": 0.5}
    assert found[0]["best"]["params"]["depth"] in (1, 2, 3, 4)
    assert found[0]["trials"] == {"target": 4, "complete": 1, "pruned": 0, "failed": 0, "running": 0}
    assert found[1]["last_failure"] == "error: ValueError: \\x1b[31mno"  # it cannot steer a terminal
    assert found[2]["state"] == "done"
    assert found[2]["look"] == "hpo best synthetic"
    assert len({one["id"] for one in found}) == 3


def test_a_study_that_is_extended_ends_again_and_one_that_is_stopped_says_why(store: Store) -> None:
    study = create_study(store, budget={"trials": 1}, notify=[HOOK])
    worker = Claimant(store, study)
    worker.finish(begin_next(worker, 0.5), 0.5)
    look(store, study)

    set_limits(store, "synthetic", ["trials=20"])
    open_again = look(store, study)
    ask_study(store, "synthetic", "stop")

    assert open_again == []
    assert look(store, study) == [("finished", "1 trials, stopped")]
    assert (contents(store)[-1]["state"], contents(store)[-1]["reason"]) == ("stopped", "by request")


def test_a_study_does_not_end_while_a_trial_is_trained(store: Store) -> None:
    study = create_study(store, budget={"trials": 2}, notify=[HOOK])
    worker = Claimant(store, study)
    running = begin_next(worker, 0.5)
    ask_study(store, "synthetic", "stop")

    early = look(store, study)
    worker.finish(running, 0.5, state="PRUNED")

    assert early == []
    assert look(store, study) == [("finished", "1 trials, stopped")]


def test_a_row_of_failures_is_told_once_however_long_and_refused_trials_do_not_count(store: Store) -> None:
    study = create_study(store, notify=[{**HOOK, "on": "failures in a row"}])
    worker = Claimant(store, study)
    seen = []
    for cause in ["error: A", "refused: x > 1", "error: A", "killed: by request", "error: B", "error: B", None, *"abc"]:
        value = 0.5 if cause is None else None
        state = "COMPLETE" if cause is None else "FAIL"
        worker.finish(begin_next(worker), value, state=state, cause=cause)
        seen.append(look(store, study))

    assert [len(one) for one in seen] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert seen[4] == [("failures_in_a_row", "3 since the beginning")]
    assert seen[9] == [("failures_in_a_row", "3 since trial 6")]


def test_a_budget_that_is_nearly_spent_is_told_for_each_limit(store: Store) -> None:
    study = create_study(store, budget={"trials": 10}, notify=[{**HOOK, "on": "budget-nearly-spent"}])
    worker = Claimant(store, study)
    for _ in range(8):
        worker.finish(begin_next(worker, 0.5), 0.5)
    before = look(store, study)
    worker.finish(begin_next(worker, 0.5), 0.5)

    assert before == []
    assert look(store, study) == [("budget_nearly_spent", "trials 10")]
    assert {key: contents(store)[0][key] for key in ("budget", "spent", "limit")} == {
        "budget": "trials", "spent": 9, "limit": 10,
    }  # fmt: skip
    set_limits(store, "synthetic", ["trials=+1", "hours=1e-9"])
    assert look(store, study) == []  # it is over, which is another event


def test_a_lost_worker_is_written_by_whoever_ends_its_leases(store: Store) -> None:
    study = create_study(store, notify=[HOOK])
    worker = Claimant(store, study)
    for _ in range(2):
        begin_next(worker, 0.5)
    with store.write() as connection:
        connection.execute(update(hpo_attempts).values(lease_until=1.0))

    expire_leases(store)
    expire_leases(store)

    [content] = contents(store)
    assert content["event"] == "worker_lost"
    assert content["worker"] == "here:1"
    assert content["trials_handed_back"] == [0, 1]


def test_workers_that_look_at_the_same_moment_write_one_event(store: Store) -> None:
    study = create_study(store, budget={"trials": 1}, notify=[ALL])
    worker = Claimant(store, study)
    worker.finish(begin_next(worker, 0.5), 0.5)

    with ThreadPoolExecutor(2) as pool:
        found = [event for events in pool.map(lambda _: look(store, study), range(6)) for event in events]

    assert sorted(found) == [("finished", "1 trials, running"), ("new_best", "trial 0")]
    assert len(contents(store)) == 2


def test_a_study_that_took_the_number_of_a_deleted_one_is_left_alone(store: Store) -> None:
    study = create_study(store, budget={"trials": 1}, notify=[ALL])
    worker = Claimant(store, study)
    worker.finish(begin_next(worker, 0.5), 0.5)

    assert record(store, study.study_id, created=study.created - 1) == []
    assert contents(store) == []


def test_several_objectives_have_a_new_best_when_the_front_grows(store: Store) -> None:
    keys: dict[str, Any] = {
        "objective": ["val_accuracy", "parameters"],
        "pruner": "none",
        "notify": [{**HOOK, "on": ["new_best"]}],
    }
    study = create_study(store, **keys)
    worker = Claimant(store, study)
    seen = []
    for values in ((0.5, 100.0), (0.4, 200.0), (0.4, 50.0)):
        worker.finish(begin_next(worker), *values)
        seen += look(store, study)

    assert seen == [("new_best", "trial 0"), ("new_best", "trial 2")]
    assert set(contents(store)[-1]["best"]["values"]) == {"val_accuracy", "parameters"}


def test_signs_cost_no_statement_and_change_with_what_is_wanted(store: Store) -> None:
    study = create_study(store, budget={"trials": 2}, notify=[ALL])
    worker = Claimant(store, study)
    worker.finish(begin_next(worker, 0.5), 0.5)
    progress = load_progress(store, study.study_id)

    targets = study.resolved.spec.notify
    assert signs(progress, (), best=0) == set()
    assert signs(progress, targets, best=0) != signs(progress, targets, best=1)
    assert signs(progress, targets, best=0) == signs(progress, targets, best=0)


def test_a_poll_reads_what_waits_and_the_targets_of_the_store_in_one_statement(store: Store) -> None:
    study = create_study(store, budget={"trials": 1}, notify=[HOOK])
    worker = Claimant(store, study)
    worker.finish(begin_next(worker, 0.5), 0.5)
    executed: list[str] = []
    listener = (store.engine, "before_cursor_execute", lambda *of: executed.append(of[2]))
    event.listen(*listener)
    before = poll_store(store, [], [])
    number = sum("SELECT" in statement for statement in executed)
    event.remove(*listener)
    look(store, study)
    save_store_targets(store, targets_of([HOOK]))
    after = poll_store(store, [], [])

    assert number == 1
    assert (before.due, before.store_targets) == (0, None)
    assert after.due == 1
    assert notifications.StoreTargets.of(after.store_targets).targets == targets_of([HOOK])


# ---- taken, sent, settled


def test_one_notification_is_taken_once_and_ends_when_all_targets_have_it(store: Store) -> None:
    other = {"command": ["tell"], "on": ["finished"]}
    study = create_study(store, budget={"trials": 1}, notify=[HOOK, other])
    worker = Claimant(store, study)
    worker.finish(begin_next(worker, 0.5), 0.5)
    look(store, study)

    taken = take(store, seconds=60)
    assert taken is not None
    assert [target.kind for target in taken.targets] == ["webhook", "command"]
    assert take(store, seconds=60) is None
    note_delivered(store, taken, taken.targets[0])
    settle(store, taken, ["the command tell: it ended with code 1"])
    assert told(store, study) == "1 not sent yet (the command tell: it ended with code 1)"
    make_due(store)
    again = take(store, seconds=60)
    assert again is not None
    assert [target.kind for target in again.targets] == ["command"]  # the webhook has it
    note_delivered(store, again, again.targets[0])
    settle(store, again, [])

    make_due(store)
    assert take(store, seconds=60) is None
    assert told(store, study) == "1 sent"


def test_after_some_tries_it_is_given_up_also_when_every_sender_dies(store: Store) -> None:
    study = create_study(store, budget={"trials": 1}, notify=[HOOK])
    worker = Claimant(store, study)
    worker.finish(begin_next(worker, 0.5), 0.5)
    look(store, study)

    for _ in range(MOST_TRIES):
        assert take(store, seconds=60) is not None  # and whoever has it dies
        make_due(store)

    assert take(store, seconds=60) is None
    assert told(store, study) == f"1 given up ({notifications.LOST_SENDER})"
    [finding] = check_notifications(CheckContext(store, Path(), "here"))
    assert (finding.level, finding.where) == ("note", "synthetic")
    assert finding.what == f"1 notification was given up, undelivered: {notifications.LOST_SENDER}"


def test_a_sender_that_was_taken_for_dead_does_not_end_what_another_one_sends(store: Store) -> None:
    study = create_study(store, budget={"trials": 1}, notify=[HOOK])
    worker = Claimant(store, study)
    worker.finish(begin_next(worker, 0.5), 0.5)
    look(store, study)
    slow = take(store, seconds=60)
    make_due(store)
    other = take(store, seconds=60)
    assert slow is not None
    assert other is not None

    settle(store, slow, ["it answered 500"])

    assert take(store, seconds=60) is None  # the other one's lease holds
    note_delivered(store, slow, slow.targets[0])  # it did arrive
    settle(store, other, [])
    assert told(store, study) == "1 sent"


def test_what_nobody_wants_any_more_is_not_sent(store: Store) -> None:
    study = create_study(store, budget={"trials": 1}, notify=[HOOK])
    worker = Claimant(store, study)
    worker.finish(begin_next(worker, 0.5), 0.5)
    look(store, study)

    create_study(store, budget={"trials": 1}, notify=[])  # the file was changed, and submitted again

    assert take(store, seconds=60) is None
    assert told(store, study) == "1 sent"


def test_the_targets_of_a_store_are_told_of_all_studies_from_then_on(store: Store) -> None:
    before = create_study(store, study="before", budget={"trials": 1})
    worker = Claimant(store, before)
    worker.finish(begin_next(worker, 0.5), 0.5)
    hook = targets_of([HOOK])
    save_store_targets(store, hook)
    after = create_study(store, study="after", budget={"trials": 1}, notify=[HOOK])
    worker = Claimant(store, after)
    worker.finish(begin_next(worker, 0.5), 0.5)

    assert look(store, before) == []
    assert look(store, after) == [("finished", "1 trials, running")]
    taken = take(store, seconds=60)
    assert taken is not None
    assert len(taken.targets) == 1  # the same receiver, named twice
    save_store_targets(store, ())
    with store.read() as connection:
        assert notifications.load_store_targets(connection).targets == ()
