"""The doctor's findings about trials, leases, workers and checkpoints, and its repairs."""

from __future__ import annotations

import hashlib
import zipfile
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest
import torch
from projects.launch import wait_for
from projects.stored import NOBODY, add_attempt, add_trial, add_worker, folder_of
from projects.synthetic import Claimant
from sqlalchemy import select, update

from hpo.doctor.checkpoints import damage
from hpo.doctor.examination import examine, repair
from hpo.doctor.finding import Finding
from hpo.errors import HpoError, SpecError
from hpo.queue.leases import LOST
from hpo.queue.studies import StoredStudy, set_study_state
from hpo.results.study import Study
from hpo.results.warm_start import _find
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import hpo_attempts, hpo_studies, hpo_trials, trials
from hpo.study.folder_mark import mark_folder
from hpo.study.states import StudyState


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a trial really writes."""
    path = tmp_path_factory.mktemp("checkpoint") / "best.ckpt"
    torch.save({"state_dict": torch.nn.Linear(50, 50).state_dict(), "hyper_parameters": {"width": 50}}, path)
    return path.read_bytes()


def about(findings: list[Finding], subject: str, *, level: str | None = None) -> list[Finding]:
    return [found for found in findings if found.about == subject and level in (None, found.level)]


def wrong(findings: list[Finding]) -> list[str]:
    return [f"{found.about}: {found.what}" for found in findings if found.level == "problem"]


def place_checkpoint(
    store: Store,
    study: StoredStudy,
    artifacts: Path,
    content: bytes | None,
    host: str = "",
    written: bytes | None = None,
) -> Path:
    """A complete trial whose checkpoint has this content; None: the file is not there.

    Args:
        written: what the trial wrote, as the store has its hash; None for a trial of an earlier release.
    """
    worker = add_worker(store, host=host) if host else add_worker(store)
    with store.read() as connection:
        number = len(connection.execute(select(trials.c.trial_id)).all())
    path = folder_of(artifacts, study, number) / "best.ckpt"
    path.parent.mkdir(parents=True)
    if content is not None:
        path.write_bytes(content)
    sha256 = None if written is None else hashlib.sha256(written).hexdigest()
    add_attempt(store, add_trial(store, study, checkpoint=path, checkpoint_sha256=sha256), worker)
    return path


def dump(store: Store) -> list[object]:
    """Everything in the tables that a repair may write."""
    with store.read() as connection:
        return [connection.execute(select(table)).all() for table in (trials, hpo_trials, hpo_attempts, hpo_studies)]


# ---- nothing is wrong


def test_a_healthy_store_with_work_under_way_has_no_problems(
    store: Store, study: StoredStudy, artifacts: Path, checkpoint: bytes
) -> None:
    place_checkpoint(store, study, artifacts, checkpoint)
    add_attempt(store, add_trial(store, study, state="RUNNING"), add_worker(store), lease=30)
    before = dump(store)

    findings = examine(store.url, artifacts=artifacts)

    assert wrong(findings) == []
    assert {found.level for found in findings} == {"ok"}
    assert repair(store.url, artifacts=artifacts) == []
    assert dump(store) == before


# ---- leases


def test_an_expired_lease_is_found_and_closed_so_that_the_trial_is_claimed_again(
    store: Store, study: StoredStudy, artifacts: Path
) -> None:
    trial = add_trial(store, study, state="RUNNING")
    attempt = add_attempt(store, trial, add_worker(store, silent=100), lease=-5)

    [found] = about(examine(store.url, artifacts=artifacts), "leases")
    # When PostgreSQL has just started, no lease ends before living workers had the time to renew theirs.
    changes = wait_for(lambda: repair(store.url, artifacts=artifacts))

    assert (found.level, found.where) == ("problem", "synthetic")
    assert "trial 0 is running, but the lease has run out" in found.what
    assert changes == ["synthetic: closed 1 expired leases"]
    assert repair(store.url, artifacts=artifacts) == []
    with store.read() as connection:
        row = connection.execute(select(hpo_attempts).where(hpo_attempts.c.attempt_id == attempt)).one()
    assert (row.kind, row.cause, row.ended) == ("crash", LOST, row.lease_until)
    claim = Claimant(store, study).claim()
    assert claim is not None
    assert (claim.trial_id, claim.attempt) == (trial, 2)


def test_a_living_lease_is_left_alone(store: Store, study: StoredStudy, artifacts: Path) -> None:
    add_attempt(store, add_trial(store, study, state="RUNNING"), add_worker(store), lease=20)
    set_study_state(store, study.study_id, StudyState.STOPPED)
    before = dump(store)

    assert repair(store.url, artifacts=artifacts) == []
    assert dump(store) == before


def test_a_trial_that_was_handed_back_is_no_problem_while_its_study_is_open(
    store: Store, study: StoredStudy, artifacts: Path
) -> None:
    add_attempt(store, add_trial(store, study, state="RUNNING"), add_worker(store))

    findings = examine(store.url, artifacts=artifacts)

    [found] = about(findings, "orphans")
    assert (found.level, found.remedy) == ("note", "start a worker, which continues them")
    assert wrong(findings) == []
    assert repair(store.url, artifacts=artifacts) == []


@pytest.mark.parametrize("state", [StudyState.STOPPED, StudyState.KILLED])
def test_running_trials_of_an_ended_study_are_ended_with_their_curves_kept(
    state: StudyState, store: Store, study: StoredStudy, artifacts: Path
) -> None:
    worker = add_worker(store, silent=100)
    expired, idle = (add_trial(store, study, state="RUNNING") for _ in range(2))
    add_attempt(store, expired, worker, lease=-5)
    add_attempt(store, idle, worker)
    set_study_state(store, study.study_id, state)

    problems = wrong(examine(store.url, artifacts=artifacts))
    changes = repair(store.url, artifacts=artifacts)

    assert any(f"the study is {state} and no worker trains them" in problem for problem in problems)
    assert sum("ended" in change for change in changes) >= 1
    records = Study(store, "synthetic").trials()
    assert {record.state for record in records} == {"failed"}  # they have no curve
    assert {record.cause for record in records} == {f"{state}: by request"}
    assert all(record.ended is not None for record in Study(store, "synthetic").trials())
    assert all(record.config for record in Study(store, "synthetic").trials())
    assert wrong(examine(store.url, artifacts=artifacts)) == []
    assert repair(store.url, artifacts=artifacts) == []


def test_an_open_attempt_of_a_trial_that_has_ended_is_closed(store: Store, study: StoredStudy, artifacts: Path) -> None:
    add_attempt(store, add_trial(store, study), add_worker(store), lease=30)

    assert wrong(examine(store.url, artifacts=artifacts)) == ["leases: attempts of 1 ended trial are still open"]
    assert repair(store.url, artifacts=artifacts) == ["closed 1 attempt of trials that had ended"]
    assert wrong(examine(store.url, artifacts=artifacts)) == []
    assert Study(store, "synthetic").trials()[0].value == 0.5


def test_a_running_trial_of_an_optuna_script_is_reported_and_left_alone(
    store: Store, study: StoredStudy, artifacts: Path
) -> None:
    with optuna_storage(store.url) as storage:
        optuna.load_study(study_name="synthetic", storage=storage).ask()
    before = dump(store)

    [young] = about(examine(store.url, artifacts=artifacts), "other programs")
    with store.write() as connection:
        connection.execute(update(trials).values(datetime_start=datetime(2020, 1, 1) + timedelta(hours=1)))
    [old] = about(examine(store.url, artifacts=artifacts), "other programs")

    assert young.level == "note"
    assert "an Optuna script" in young.what
    assert "takes its place in the budget" in young.what
    assert "optuna tell --storage URL --study-name synthetic --trial-number 0 --state fail" in young.remedy
    assert old.level == "problem"
    assert repair(store.url, artifacts=artifacts) == []
    assert [record.state for record in Study(store, "synthetic").trials()] == ["running"]
    assert len(before) == len(dump(store))


def test_a_study_of_another_program_is_none_of_our_business(store: Store, artifacts: Path) -> None:
    with optuna_storage(store.url) as storage:
        optuna.create_study(study_name="theirs", storage=storage).ask()
    with store.write() as connection:
        connection.execute(update(trials).values(datetime_start=datetime(2020, 1, 1)))

    findings = examine(store.url, artifacts=artifacts)

    assert [found.level for found in about(findings, "other programs")] == ["note"]
    assert wrong(findings) == []


def test_workers_that_went_silent_are_noted(store: Store, artifacts: Path) -> None:
    add_worker(store, host="alive")
    add_worker(store, host="vanished", silent=1000)

    alive, silent = about(examine(store.url, artifacts=artifacts), "workers")

    assert alive.what == "1 at work"
    assert (silent.level, silent.what) == ("note", f"1 stopped sending heartbeats: vanished:{NOBODY}")


# ---- checkpoints


def test_a_checkpoint_whose_file_is_gone_is_found_and_forgotten_but_not_its_result(
    store: Store, study: StoredStudy, artifacts: Path, checkpoint: bytes
) -> None:
    gone = place_checkpoint(store, study, artifacts, None)
    kept = place_checkpoint(store, study, artifacts, checkpoint)

    found, counted = about(examine(store.url, artifacts=artifacts), "checkpoints")

    assert found.what == f"the file of trial 0 ({gone}) is missing"
    assert (counted.level, counted.what) == ("ok", "1 of 2 on this machine are intact")
    assert repair(store.url, artifacts=artifacts) == ["synthetic: removed 1 checkpoint without files from the store"]
    assert [record.checkpoint for record in Study(store, "synthetic").trials()] == [None, str(kept)]
    assert [record.value for record in Study(store, "synthetic").trials()] == [0.5, 0.5]
    assert repair(store.url, artifacts=artifacts) == []


def test_checkpoints_of_other_machines_are_not_looked_for(store: Store, study: StoredStudy, artifacts: Path) -> None:
    place_checkpoint(store, study, artifacts, None, host="elsewhere")

    assert wrong(examine(store.url, artifacts=artifacts)) == []
    assert repair(store.url, artifacts=artifacts) == []


def test_no_checkpoint_is_removed_while_the_whole_folder_is_missing(
    store: Store, study: StoredStudy, artifacts: Path, checkpoint: bytes
) -> None:
    path = place_checkpoint(store, study, artifacts, checkpoint)
    artifacts.rename(artifacts.with_name("unmounted"))

    found = about(examine(store.url, artifacts=artifacts), "checkpoints", level="problem")

    assert [(finding.what, finding.where) for finding in found] == [
        ("the folder of 1 checkpoint is missing", str(artifacts))
    ]
    assert repair(store.url, artifacts=artifacts) == []
    assert Study(store, "synthetic").trials()[0].checkpoint == str(path)


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_checkpoint_is_found_and_left_in_place(
    part: float, store: Store, study: StoredStudy, artifacts: Path, checkpoint: bytes
) -> None:
    path = place_checkpoint(store, study, artifacts, checkpoint[: int(len(checkpoint) * part)])

    found = about(examine(store.url, artifacts=artifacts), "checkpoints", level="problem")

    assert len(found) == 1
    assert ("is empty" if part == 0 else "is truncated") in found[0].what
    assert repair(store.url, artifacts=artifacts) == []
    assert path.exists()


def test_damaged_and_intact_checkpoints_are_distinguished(tmp_path: Path, checkpoint: bytes) -> None:
    whole, shifted, other, text = (tmp_path / name for name in ("whole", "shifted", "other", "text"))
    whole.write_bytes(checkpoint)
    # the end is there, the middle is not: what a copy that was resumed wrongly looks like
    shifted.write_bytes(checkpoint[:500] + checkpoint[5000:])
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("notes.txt", "not a model")
    text.write_text("weights")

    assert damage(whole) is None
    assert damage(shifted) is not None
    assert "the archive contains something else" in str(damage(other))
    assert "truncated or not a checkpoint" in str(damage(text))


def test_a_checkpoint_that_was_replaced_is_found_and_left_in_place(
    store: Store, study: StoredStudy, artifacts: Path, checkpoint: bytes, tmp_path: Path
) -> None:
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    other = (tmp_path / "other.ckpt").read_bytes()
    place_checkpoint(store, study, artifacts, checkpoint, written=checkpoint)
    replaced = place_checkpoint(store, study, artifacts, other, written=checkpoint)
    place_checkpoint(store, study, artifacts, other)

    found, counted = about(examine(store.url, artifacts=artifacts), "checkpoints")

    assert (found.level, found.what) == (
        "problem",
        f"trial 1: {replaced} is not the file that the trial wrote: it was replaced or changed",
    )
    assert counted.what == "2 of 3 on this machine are intact"
    assert repair(store.url, artifacts=artifacts) == []
    assert replaced.read_bytes() == other


def test_a_replaced_checkpoint_starts_no_other_study_and_is_not_loaded(
    store: Store, study: StoredStudy, artifacts: Path, checkpoint: bytes
) -> None:
    path = place_checkpoint(store, study, artifacts, b"another file", written=checkpoint)
    [record] = Study(store, "synthetic").trials()

    with pytest.raises(HpoError, match=f"^{path} is not the file that trial 0 wrote: it was replaced or changed. Put"):
        record.load_model()
    with pytest.raises(SpecError, match=r"'trial:synthetic/best': .* is not the file that trial 0 wrote"):
        _find(store, "trial:synthetic/best")
    path.write_bytes(checkpoint)
    assert _find(store, "trial:synthetic/best") == {"trial": 0, "checkpoint": str(path)}


# ---- leftovers


def test_files_that_no_trial_names_are_noted(
    store: Store, study: StoredStudy, artifacts: Path, checkpoint: bytes
) -> None:
    kept = place_checkpoint(store, study, artifacts, checkpoint)
    (kept.parent / "log.txt").write_text("log")
    (kept.parent / "last.ckpt").write_bytes(checkpoint)
    for folder in (folder_of(artifacts, study, 99), artifacts / "deleted-20200101-000000" / "00000"):
        folder.mkdir(parents=True)
        (folder / "best.ckpt").write_bytes(checkpoint)

    ours, unknown = about(examine(store.url, artifacts=artifacts), "leftovers")

    assert ours.level == unknown.level == "note"
    assert ours.what.startswith("2 files or folders that no trial of this store needs (0.0 MiB): synthetic-")
    assert "/00000/last.ckpt" in ours.what
    assert "/00099" in ours.what
    assert "best.ckpt" not in ours.what
    assert unknown.what.startswith("1 file or folder of a study that this store does not know (0.0 MiB): deleted-2020")
    assert unknown.repair is None
    assert "it has no store.txt" in unknown.remedy


def test_leftovers_are_removed_by_repair_and_what_may_be_another_stores_stays(
    store: Store, study: StoredStudy, artifacts: Path, checkpoint: bytes
) -> None:
    kept = place_checkpoint(store, study, artifacts, checkpoint)
    (kept.parent / "last.ckpt").write_bytes(checkpoint)
    unmarked, ours, theirs = (artifacts / f"{name}-20200101-000000" for name in ("unmarked", "ours", "theirs"))
    for folder in (folder_of(artifacts, study, 99), unmarked / "00000", ours / "00000", theirs / "00000"):
        folder.mkdir(parents=True)
        (folder / "best.ckpt").write_bytes(checkpoint)
    mark_folder(ours, str(store.url))
    mark_folder(theirs, "postgresql://ada@far/away")

    changes = repair(store.url, artifacts=artifacts)
    again = repair(store.url, artifacts=artifacts)

    assert [change for change in changes if "that no trial needs" in change] != []
    assert again == []
    assert kept.exists()
    assert not (kept.parent / "last.ckpt").exists()
    assert not folder_of(artifacts, study, 99).exists()
    assert (unmarked.exists(), ours.exists(), theirs.exists()) == (True, False, True)


# ---- the verb
