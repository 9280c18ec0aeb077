"""The ends of logs, and what comes to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from projects.stored import folder_of
from projects.synthetic import Claimant, begin_next, create_study

from hpo.errors import HpoError
from hpo.service.log_tail import LogsHere, LogsOfServer, LogTail, running_logs
from hpo.service.studies import StudiesOfStore
from hpo.service.trial_log import PART_BYTES
from hpo.store import Store
from hpo.study.job import LOG


def logs_here(
    store: Store, artifacts: Path, *, follow: bool, notify: Callable[[str], None] = lambda _: None
) -> Iterator[tuple[int, str]]:
    logs = LogsHere(store, "synthetic", artifacts=artifacts, notify=notify)
    return running_logs(logs, "synthetic", follow=follow, notify=notify)


def test_the_last_lines_come_first_and_then_each_line_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"{number}\n" for number in range(20)))
    tail = LogTail(log, lines=3)

    assert tail.read() == ["17", "18", "19"]
    assert tail.read() == []
    with log.open("ab") as file:
        file.write(b"half")
        file.flush()
        assert tail.read() == []
        file.write(b" a line\r\nnext\xff")
    assert tail.read() == ["half a line"]
    assert tail.read(is_last=True) == ["next\N{REPLACEMENT CHARACTER}"]


def test_a_log_that_is_shortened_or_gone_is_read_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("a long line\n")
    tail = LogTail(log)
    assert tail.read() == ["a long line"]

    log.write_text("b\n")
    assert tail.read() == []
    with log.open("a") as file:
        file.write("c\n")
    assert tail.read() == ["c"]
    log.unlink()
    assert tail.read() == []


def test_the_logs_of_all_running_trials_are_told_apart(sqlite_store: Store, tmp_path: Path) -> None:
    study = create_study(sqlite_store)
    worker = Claimant(sqlite_store, study)
    claims = [begin_next(worker, 0.5) for _ in range(3)]
    for claim in claims[:2]:
        log = folder_of(tmp_path, study, claim.number) / LOG
        log.parent.mkdir(parents=True)
        log.write_text(f"of {claim.number}\n")
    said: list[str] = []

    found = list(logs_here(sqlite_store, tmp_path, follow=False, notify=said.append))

    assert found == [(0, "of 0"), (1, "of 1")]
    assert said == [
        f"trial 2 of study 'synthetic' has no log on this machine: it was trained by here:1. Looked in {tmp_path}; ask "
        "there, or name the folder with --artifacts"
    ]


def test_following_ends_with_the_study(sqlite_store: Store, tmp_path: Path) -> None:
    study = create_study(sqlite_store, budget={"trials": 1})
    worker = Claimant(sqlite_store, study)
    claim = begin_next(worker, 0.5)
    log = folder_of(tmp_path, study, 0) / LOG
    log.parent.mkdir(parents=True)
    log.write_text("first\n")
    lines = logs_here(sqlite_store, tmp_path, follow=True)

    assert next(lines) == (0, "first")
    with log.open("a") as file:
        file.write("last, without its end")
    worker.finish(claim, 0.5, best_epoch=1)

    assert list(lines) == [(0, "last, without its end")]


def test_without_a_running_trial_it_says_so_and_why(sqlite_store: Store, tmp_path: Path) -> None:
    create_study(sqlite_store)

    with pytest.raises(HpoError, match="no trial of study 'synthetic' runs: no worker trains it"):
        list(logs_here(sqlite_store, tmp_path, follow=False))


def test_through_a_server_all_that_came_arrives_though_an_answer_is_bounded(
    sqlite_store: Store, tmp_path: Path
) -> None:
    study = create_study(sqlite_store, budget={"trials": 1})
    worker = Claimant(sqlite_store, study)
    claim = begin_next(worker, 0.5)
    log = folder_of(tmp_path, study, 0) / LOG
    log.parent.mkdir(parents=True)
    log.write_text("first\n")
    logs = LogsOfServer(StudiesOfStore(sqlite_store, tmp_path), "synthetic")
    lines = running_logs(logs, "synthetic", follow=True, notify=lambda _: None)

    assert next(lines) == (0, "first")
    long = [f"{number:06d}" + "x" * 100 for number in range(5 * PART_BYTES // 200)]
    with log.open("a") as file:
        file.write("\n".join(long))
    worker.finish(claim, 0.5, best_epoch=1)

    assert [line for _, line in lines] == long
