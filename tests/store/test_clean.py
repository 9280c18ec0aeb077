"""The size of artifacts, and their removal, which spares files that a trial needs or that no worker wrote."""

from __future__ import annotations

from pathlib import Path

from projects.stored import add_attempt, add_trial, add_worker, folder_of
from projects.synthetic import create_study
from sqlalchemy import select, update

from hpo.doctor.examination import examine
from hpo.queue.claim import claim_trial
from hpo.queue.leases import register_worker
from hpo.queue.studies import StoredStudy
from hpo.service.clean import clean_artifacts, look_at_artifacts
from hpo.service.delete import delete_study
from hpo.service.steer import request_study, request_trial
from hpo.store import Store
from hpo.store.tables import hpo_studies, hpo_trials
from hpo.study.folder_mark import mark_folder
from hpo.study.states import Request, StudyState

FILES = (
    "best.ckpt",
    "last.ckpt",
    "previous.ckpt",
    "last.partial",
    "best.partial",
    "config.json",
    "log.txt",
    "own.ckpt",
)
NEEDED = ["config.json", "log.txt"]
KEPT = [*NEEDED, "own.ckpt"]  # the last one was written by a callback of the user's


def fill(folder: Path) -> Path:
    """A trial's folder with all that may be in it, 10 bytes each."""
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_bytes(b"x" * 10)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_of_ended_trials_what_no_row_names_goes_and_all_of_others_stays(
    store: Store, study: StoredStudy, artifacts: Path
) -> None:
    folders = [fill(folder_of(artifacts, study, number)) for number in range(6)]
    add_trial(store, study, checkpoint=Path("/another/path/to/it") / folders[0].name / "best.ckpt")
    add_trial(store, study)
    add_trial(store, study, state="PRUNED")
    add_trial(store, study, state="FAIL")
    add_attempt(store, add_trial(store, study, state="RUNNING"), add_worker(store))  # idle
    add_trial(store, study, state="WAITING")

    looked = look_at_artifacts(store, artifacts)
    before = [names(folder) for folder in folders]
    cleaned = clean_artifacts(store, artifacts)
    again = clean_artifacts(store, artifacts)

    assert before == [sorted(FILES)] * 6
    assert names(folders[0]) == ["best.ckpt", *KEPT]
    assert names(folders[1]) == KEPT  # it is complete, and among the best
    assert [names(folder) for folder in folders[2:4]] == [NEEDED] * 2
    assert [names(folder) for folder in folders[4:]] == [sorted(FILES)] * 2
    assert looked.unneeded == cleaned.removed == 40 + 50 + 2 * 60
    assert (again.unneeded_count, again.removed, again.size) == (0, 0, 480 - 210)


def test_checkpoints_of_callbacks_and_named_ones_go_where_the_study_does_not_keep_them(
    store: Store, artifacts: Path
) -> None:
    study = create_study(store, keep={"checkpoints": 1})
    folders = [fill(folder_of(artifacts, study, number)) for number in range(4)]
    of_callbacks = ("checkpoints/epoch=1-step=2.ckpt", "lightning_logs/version_0/checkpoints/last.ckpt")
    own = (*of_callbacks, "sharded.ckpt/0.distcp", "preprocessing.npz")
    for folder in folders:
        for name in own:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"x" * 10)
        (folder / "checkpoints" / "notes.txt").write_text("mine")
    better, worse = (add_trial(store, study, value=value, checkpoint=folder / "best.ckpt")
                     for value, folder in zip((0.2, 0.1), folders[:2], strict=True))  # fmt: skip
    add_trial(store, study, state="FAIL")
    add_attempt(store, add_trial(store, study, state="RUNNING"), add_worker(store))  # idle

    cleaned = clean_artifacts(store, artifacts)

    assert cleaned.problems == ()
    assert [names(folder) for folder in folders[1:3]] == [
        ["checkpoints", "config.json", "lightning_logs", "log.txt"]
    ] * 2
    for folder in (folders[0], folders[3]):
        assert [(folder / name).exists() for name in (*own, "own.ckpt", "best.ckpt")] == [True] * 6
    assert all((folder / "checkpoints" / "notes.txt").exists() for folder in folders)
    assert {trial_id: checkpoint_of(store, trial_id) for trial_id in (better, worse)} == {
        better: str(folders[0] / "best.ckpt"),
        worse: None,
    }
    assert clean_artifacts(store, artifacts).unneeded_count == 0


def test_the_last_states_of_the_best_trials_stay_where_the_study_keeps_them(store: Store, artifacts: Path) -> None:
    study = create_study(store, keep={"checkpoints": 1, "last": True})
    folders = [fill(folder_of(artifacts, study, number)) for number in range(3)]
    add_trial(store, study, value=0.2, checkpoint=folders[0] / "best.ckpt")
    add_trial(store, study, value=0.1, checkpoint=folders[1] / "best.ckpt")
    add_trial(store, study, state="FAIL")

    clean_artifacts(store, artifacts)

    assert names(folders[0]) == ["best.ckpt", "config.json", "last.ckpt", "log.txt", "own.ckpt"]
    assert [names(folder) for folder in folders[1:]] == [NEEDED] * 2


def test_idle_trials_that_are_stopped_or_killed_leave_nothing_here(
    store: Store, study: StoredStudy, artifacts: Path
) -> None:
    """There may be no worker left that would remove it."""
    folders = [fill(folder_of(artifacts, study, number)) for number in range(3)]
    for _ in folders:
        add_attempt(store, add_trial(store, study, state="RUNNING"), add_worker(store))

    request_trial(store, study.name, 0, Request.KILL, artifacts=artifacts)
    after_one = [names(folder) for folder in folders]
    request_study(store, study.name, StudyState.PAUSED, artifacts=artifacts)
    after_pause = [names(folder) for folder in folders]
    said = request_study(store, study.name, StudyState.STOPPED, artifacts=artifacts)

    assert after_one == after_pause == [NEEDED, sorted(FILES), sorted(FILES)]
    assert [names(folder) for folder in folders] == [NEEDED] * 3
    assert "not removed" not in said


def test_a_study_of_a_newer_release_keeps_all_that_its_rows_name(
    store: Store, study: StoredStudy, artifacts: Path
) -> None:
    folder = fill(folder_of(artifacts, study, 0))
    add_trial(store, study, checkpoint=folder / "best.ckpt")
    with store.write() as connection:
        connection.execute(update(hpo_studies).values(spec='{"spec": {"keep": {"checkpoints": "the best"}}}'))

    clean_artifacts(store, artifacts)

    assert names(folder) == ["best.ckpt", *KEPT]


def checkpoint_of(store: Store, trial_id: int) -> str | None:
    with store.read() as connection:
        return connection.scalar(select(hpo_trials.c.checkpoint).where(hpo_trials.c.trial_id == trial_id))


def test_folders_that_the_store_does_not_know_go(store: Store, study: StoredStudy, artifacts: Path) -> None:
    fill(folder_of(artifacts, study, 7))
    deleted = create_study(store, study="deleted")
    gone = fill(folder_of(artifacts, deleted, 0)).parent
    mark_folder(gone, str(store.url))
    delete_study(store, deleted.name, artifacts=artifacts / "elsewhere")  # on another machine

    cleaned = clean_artifacts(store, artifacts)

    assert not gone.exists()
    assert not folder_of(artifacts, study, 7).exists()
    assert {(use.study, len(use.leftovers), use.unneeded) for use in cleaned.uses} == {
        ("synthetic", 1, 80),
        (None, 1, 80 + len(str(store.url)) + 1),
    }


def test_what_is_not_ours_stays(store: Store, study: StoredStudy, artifacts: Path, tmp_path: Path) -> None:
    precious = fill(tmp_path / "precious" / "00000").parent
    shared = fill(artifacts / "theirs-20240101-000000" / "00000").parent
    mark_folder(shared, "postgresql://ada@far/away")
    strange = fill(artifacts / "photos-20240101-000000" / "00000").parent
    (strange / "holiday.jpg").write_text("mine")
    (artifacts / "linked-20240101-000000").symlink_to(precious)
    linking = fill(artifacts / "linking-20240101-000000" / "00000").parent
    (linking / "00001").symlink_to(precious)
    unmarked = fill(artifacts / "older-20240101-000000" / "00000").parent
    fill(artifacts / "notes" / "00000")
    (artifacts / "file.txt").write_text("mine")
    mine = folder_of(artifacts, study, 0)
    fill(mine)
    add_trial(store, study, state="FAIL")
    (mine / "best.ckpt").unlink()
    (mine / "best.ckpt").symlink_to(precious / "00000" / "best.ckpt")
    (mine.parent / "00009").symlink_to(precious)

    cleaned = clean_artifacts(store, artifacts)

    assert {use.folder.name: use.kept for use in cleaned.uses if use.study is None} == {
        "theirs-20240101-000000": "it belongs to another store: postgresql://ada@far/away",
        "photos-20240101-000000": "it holds something that no worker wrote: holiday.jpg",
        "linking-20240101-000000": "it holds something that no worker wrote: 00001",
        "older-20240101-000000": "it has no store.txt, so it may belong to another store",
    }
    assert cleaned.removed == 50
    assert names(precious / "00000") == sorted(FILES)
    assert (artifacts / "linked-20240101-000000").is_symlink()
    assert (mine.parent / "00009").is_symlink()
    assert [
        folder.exists() for folder in (shared, strange, linking, unmarked, artifacts / "notes", mine / "log.txt")
    ] == [True] * 6


def test_a_trial_that_begins_in_a_folder_of_its_number_keeps_it(
    store: Store, study: StoredStudy, artifacts: Path
) -> None:
    """Between the look and the removal, while a person is asked."""
    folder = fill(folder_of(artifacts, study, 0))
    looked = look_at_artifacts(store, artifacts)
    worker = register_worker(store, host="here", pid=1, slots=1)
    claim = claim_trial(store, study.study_id, worker_id=worker, slot=0, device="cpu")

    cleaned = clean_artifacts(store, artifacts)

    assert claim is not None
    assert looked.unneeded == 80
    assert cleaned.removed == 0
    assert names(folder) == sorted(FILES)


def test_what_an_interrupted_removal_left_goes(store: Store, study: StoredStudy, artifacts: Path) -> None:
    left = fill(folder_of(artifacts, study, 0).with_name(".removed-00000-abcd"))

    cleaned = clean_artifacts(store, artifacts)

    assert cleaned.removed == 80
    assert not left.exists()


def test_the_doctor_notes_the_same(store: Store, study: StoredStudy, artifacts: Path) -> None:
    fill(folder_of(artifacts, study, 7))
    [note] = [found for found in examine(store.url, artifacts=artifacts) if found.about == "leftovers"]
    clean_artifacts(store, artifacts)
    later = [found for found in examine(store.url, artifacts=artifacts) if found.about == "leftovers"]

    assert note.what.startswith("1 file or folder that no trial of this store needs (0.0 MiB): synthetic-")
    assert note.remedy == "hpo clean, or hpo doctor --repair, removes them"
    assert later == []


def test_no_artifacts_at_all(store: Store, study: StoredStudy, tmp_path: Path) -> None:
    cleaned = clean_artifacts(store, tmp_path / "none")

    assert cleaned.to_json() == {
        "artifacts": str(tmp_path / "none"),
        "bytes": 0,
        "unneeded_bytes": 0,
        "removed_bytes": 0,
        "studies": [],
        "problems": [],
    }
