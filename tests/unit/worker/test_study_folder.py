"""A study's folder on its worker: when a trial may be claimed, and what is told while none may."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from hpo.errors import SpecError
from hpo.study.folder_mark import marked_store
from hpo.worker.study_folder import StudyFolder

STORE = "sqlite:////somewhere/hpo.db"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("hpo.worker.study_folder.time.monotonic", clock)
    return clock


def folder_in(artifacts: Path) -> StudyFolder:
    return StudyFolder(artifacts / "study-20260101-000000", study="study", store=STORE)


def tries(folder: StudyFolder, clock: Clock, *, seconds: float) -> list[float]:
    """When the folder was ready for a claim, of many questions; each claim fails at once."""
    found, end = [], clock.now + seconds
    while clock.now < end:
        if folder.is_ready():
            found.append(clock.now)
            folder.refuse("No space left on device")
        clock.now += 0.05
    return found


def test_the_pauses_between_trials_that_the_disk_ends_grow(tmp_path: Path, clock: Clock) -> None:
    """The folder itself can be written: it has room for a small file, and none for what a trial writes."""
    folder = folder_in(tmp_path)

    found = tries(folder, clock, seconds=600)

    first_minute = [moment for moment in found if moment < 160]
    assert len(first_minute) <= 10
    assert 10 <= len(found) - len(first_minute) <= 40
    assert found[-1] - found[-2] > 10 * (found[1] - found[0])


def test_only_a_trial_that_ends_without_trouble_makes_the_pauses_short_again(tmp_path: Path, clock: Clock) -> None:
    folder = folder_in(tmp_path)

    tries(folder, clock, seconds=600)
    clock.now += 100
    is_ready, obstacle = folder.is_ready(), folder.obstacle
    folder.recover()
    after = tries(folder, clock, seconds=10)

    assert is_ready
    assert obstacle is not None
    assert len(after) >= 3


def test_a_trial_that_had_nothing_to_write_is_no_sign_that_the_disk_is_back(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "art").write_text("not a folder")
    folder = folder_in(tmp_path / "art")

    with caplog.at_level(logging.INFO):
        folder.is_ready()
        folder.recover()

    assert folder.obstacle is not None
    assert "again" not in caplog.text


def test_workers_that_share_a_disk_do_not_come_back_together(tmp_path: Path, clock: Clock) -> None:
    folders = [folder_in(tmp_path) for _ in range(20)]

    for folder in folders:
        folder.refuse("No space left on device")
    ready: dict[int, float] = {}
    while len(ready) < len(folders):
        ready |= {place: clock.now for place, folder in enumerate(folders) if place not in ready and folder.is_ready()}
        clock.now += 0.01

    assert len(set(ready.values())) > 5


def test_a_disk_that_fails_is_told_once_a_minute(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_in(tmp_path)

    with caplog.at_level(logging.INFO):
        tries(folder, clock, seconds=290)
        folder.recover()

    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert 3 <= len(warnings) <= 5
    assert warnings[0] == (
        f"study study: files cannot be written in {folder.path} (No space left on device): no trial begins until they "
        "can, and running trials go on"
    )
    assert caplog.records[-1].message == f"study study: files can be written in {folder.path} again"


def test_a_folder_that_cannot_be_made_is_not_ready_and_is_when_it_can(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "art").write_text("not a folder")
    folder = folder_in(tmp_path / "art")

    before = folder.is_ready()
    made = folder.make(0, attempt=1)
    (tmp_path / "art").unlink()
    clock.now += 60
    after = folder.is_ready()

    assert not before
    assert made is None
    assert after
    assert folder.make(0, attempt=1) == folder.path / "00000"
    assert marked_store(folder.path) == STORE
    assert [path.name for path in folder.path.iterdir() if path.name.startswith(".")] == []


def test_a_look_before_a_claim_makes_no_folder_of_the_study(tmp_path: Path, clock: Clock) -> None:
    """The study may have been deleted a moment ago."""
    folder = folder_in(tmp_path / "art")

    assert folder.is_ready()
    assert list((tmp_path / "art").iterdir()) == []


def test_a_name_that_is_too_long_for_the_disk_is_no_reason_to_wait(tmp_path: Path, clock: Clock) -> None:
    folder = StudyFolder(tmp_path / ("x" * 300), study="xs", store=STORE)

    with pytest.raises(SpecError, match="'hpo rename xs SHORTER' gives the study another one"):
        folder.is_ready()


def test_a_mark_that_a_full_disk_left_empty_is_written_again(tmp_path: Path, clock: Clock) -> None:
    folder = folder_in(tmp_path)
    folder.path.mkdir()
    (folder.path / "store.txt").touch()

    folder.make(3, attempt=1)

    assert marked_store(folder.path) == STORE


def test_what_cannot_be_removed_is_left_and_told(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    folder = folder_in(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "other").touch()

    with caplog.at_level(logging.WARNING):
        gone = folder.remove(tmp_path / "other" / "below a file", tmp_path / "file", tmp_path / "missing")

    assert gone == [tmp_path / "file", tmp_path / "missing"]
    assert "below a file cannot be removed (Not a directory)" in caplog.text
