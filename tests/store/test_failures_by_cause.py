"""Failed trials are told of by cause, on each database."""

from __future__ import annotations

from projects.synthetic import Claimant, begin_next, create_study

from hpo.results.failures import failures_by_cause
from hpo.store import Store


def test_failures_are_grouped_by_study_and_cause_the_most_frequent_first(store: Store) -> None:
    for name, causes in (("one", ["crash", "oom", "oom"]), ("other", ["crash"])):
        study = create_study(store, study=name)
        worker = Claimant(store, study)
        for number, cause in enumerate(causes):
            claim = begin_next(worker, 0.5)
            worker.finish(claim, None, state="FAIL", cause=cause, error=f"Traceback\nError: number {number}")
        worker.finish(begin_next(worker, 0.5), 0.5)

    with store.read() as connection:
        of_all = failures_by_cause(connection)
        of_one = failures_by_cause(connection, study.study_id)
        first = failures_by_cause(connection, most=1)

    assert [(one.study, one.cause, one.trials, one.last) for one in of_all] == [
        ("one", "oom", 2, 2),
        ("one", "crash", 1, 0),
        ("other", "crash", 1, 0),
    ]
    assert of_all[0].example == "oom: Error: number 2"
    assert of_one == of_all[2:]
    assert first == of_all[:1]
