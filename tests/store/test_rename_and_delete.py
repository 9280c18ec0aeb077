"""Renaming and deleting studies: every table, the folders on this machine, and what is left alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from projects.stored import add_attempt, add_trial, add_worker, folder_of
from projects.synthetic import SPACE, Claimant, create_study, make_spec
from stores import OF_NO_STUDY, everything, study_exists

from hpo.errors import SpecError, StoreError
from hpo.queue.claim import claim_trial
from hpo.queue.enqueue import Point, enqueue_points
from hpo.queue.leases import register_worker
from hpo.queue.progress import load_progress
from hpo.queue.studies import StoredStudy, create_or_continue, load_study
from hpo.results.status import list_studies
from hpo.results.study import Study
from hpo.service.delete import belongings_of, delete_study
from hpo.service.rename import rename_study
from hpo.service.study import Study as LiveStudy
from hpo.service.trial_log import find_log
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import hpo_metadata, hpo_workers, studies, trials
from hpo.study.resolved_study import ResolvedStudy


def place(store: Store, study: StoredStudy, artifacts: Path, *, state: str = "COMPLETE", host: str = "") -> Path:
    """A trial that was trained and its folder, with a log; a complete one also has a checkpoint of 1,000 bytes."""
    with store.read() as connection:
        number = len(connection.execute(sa.select(trials).where(trials.c.study_id == study.study_id)).all())
    folder = folder_of(artifacts, study, number)
    folder.mkdir(parents=True)
    (folder / "log.txt").write_text(f"trial {number}\n")
    checkpoint = folder / "best.ckpt" if state == "COMPLETE" else None
    if checkpoint is not None:
        checkpoint.write_bytes(b"x" * 1000)
    worker = add_worker(store, host=host) if host else add_worker(store)
    add_attempt(store, add_trial(store, study, state=state, checkpoint=checkpoint), worker)
    return folder


# ---- rename


def test_a_renamed_study_is_the_same_study(store: Store, study: StoredStudy, artifacts: Path) -> None:
    kept = place(store, study, artifacts)
    place(store, study, artifacts, state="RUNNING")  # idle
    before = Study(store, "synthetic").best(1)[0]

    message = LiveStudy(store, "synthetic", artifacts=artifacts).rename("renamed")

    moved = load_study(store, "renamed")
    [folder] = artifacts.iterdir()
    assert message == f"study synthetic was renamed to renamed\nits artifacts are in {folder}"
    assert folder.name == kept.parent.name.replace("synthetic", "renamed")
    assert not study_exists(store, "synthetic")
    assert (moved.study_id, moved.created, moved.resolved.spec.study) == (study.study_id, study.created, "renamed")
    assert moved.resolved.differences(study.resolved) == []
    after = Study(store, "renamed").best(1)[0]
    assert after.params == before.params
    assert after.checkpoint is not None
    assert Path(after.checkpoint).read_bytes() == b"x" * 1000
    assert find_log(store, "renamed", 1, artifacts=artifacts).path.read_text() == "trial 1\n"
    with optuna_storage(store.url) as storage:
        assert [found.study_name for found in optuna.get_all_study_summaries(storage)] == ["renamed"]


def test_a_study_is_renamed_back_and_twice_to_the_same_name(store: Store, study: StoredStudy, artifacts: Path) -> None:
    kept = place(store, study, artifacts)

    rename_study(store, "synthetic", "other", artifacts=artifacts)
    rename_study(store, "other", "synthetic", artifacts=artifacts)
    again = rename_study(store, "synthetic", "synthetic", artifacts=artifacts)

    assert str(again) == "study synthetic has this name already"
    assert Study(store, "synthetic").best(1)[0].checkpoint == str(kept / "best.ckpt")
    assert (kept / "best.ckpt").exists()


def test_what_was_interrupted_after_the_folder_is_completed_by_the_same_request(
    store: Store, study: StoredStudy, artifacts: Path
) -> None:
    kept = place(store, study, artifacts)
    moved = kept.parent.with_name(kept.parent.name.replace("synthetic", "renamed"))
    kept.parent.rename(moved)

    rename_study(store, "synthetic", "renamed", artifacts=artifacts)

    assert Study(store, "renamed").best(1)[0].checkpoint == str(moved / "00000" / "best.ckpt")


def test_checkpoints_of_other_machines_and_of_other_folders_keep_their_paths_or_follow_their_files(
    store: Store, study: StoredStudy, artifacts: Path, tmp_path: Path
) -> None:
    place(store, study, artifacts)
    elsewhere = place(store, study, tmp_path / "other", host="another")  # as with --artifacts, or a shared folder
    gone = place(store, study, tmp_path / "far", host="another")
    for file in gone.iterdir():
        file.unlink()
    gone.rmdir()
    gone.parent.rmdir()

    renamed = rename_study(store, "synthetic", "renamed", artifacts=artifacts)

    paths = [record.checkpoint for record in Study(store, "renamed").trials()]
    assert paths[0] is not None
    assert Path(paths[0]).exists()
    assert paths[1] == str(elsewhere / "best.ckpt").replace("synthetic-", "renamed-")
    assert Path(paths[1]).exists()
    assert paths[2] == str(gone / "best.ckpt")
    assert (renamed.elsewhere, len(renamed.folders)) == (1, 2)


def test_a_rename_that_cannot_be_changes_nothing(store: Store, study: StoredStudy, artifacts: Path) -> None:
    kept = place(store, study, artifacts)
    create_study(store, study="taken")
    with optuna_storage(store.url) as storage:
        optuna.create_study(study_name="theirs", storage=storage)
    in_the_way = kept.parent.with_name(kept.parent.name.replace("synthetic", "blocked"))
    in_the_way.mkdir()
    before = everything(store)

    for name, new, message in (
        ("synthetic", "taken", "the store has a study 'taken' already"),
        ("synthetic", "theirs", "the store has a study 'theirs' already"),
        ("theirs", "ours", "was created by another program"),
        ("sythetic", "new", "no study 'sythetic', did you mean 'synthetic'"),
        ("synthetic", "blocked", "is there already. Nothing was changed"),
    ):
        with pytest.raises(StoreError) as refused:
            rename_study(store, name, new, artifacts=artifacts)
        assert message in str(refused.value)
    for new in ("", "a/b", "../up", "-x", "a\n", "[red]", "x" * 201, "a:b"):
        with pytest.raises(SpecError, match="cannot be the name of a study"):
            rename_study(store, "synthetic", new, artifacts=artifacts)

    assert everything(store) == before
    assert Study(store, "synthetic").best(1)[0].checkpoint == str(kept / "best.ckpt")
    assert (kept / "best.ckpt").exists()


def test_a_study_that_is_trained_is_not_renamed(store: Store, study: StoredStudy, artifacts: Path) -> None:
    worker = Claimant(store, study)
    claim = worker.claim()
    assert claim is not None

    with pytest.raises(StoreError, match=r"is being trained \(trial 0 by here:1\): 'hpo pause synthetic' first"):
        rename_study(store, "synthetic", "renamed", artifacts=artifacts)

    worker.finish(claim, 0.5)
    rename_study(store, "synthetic", "renamed", artifacts=artifacts)
    later = worker.claim()  # by one that does not know the new name yet
    assert later is not None
    assert later.study == "renamed"


def test_trials_that_are_to_go_on_elsewhere_are_not_left_behind(
    store: Store, study: StoredStudy, artifacts: Path
) -> None:
    add_attempt(store, add_trial(store, study, state="RUNNING"), add_worker(store, host="far-away"))

    with pytest.raises(StoreError, match=r"\(0, last trained on far-away\): rename it there"):
        rename_study(store, "synthetic", "renamed", artifacts=artifacts)


def test_a_study_whose_weights_others_use_says_so(store: Store, study: StoredStudy, artifacts: Path) -> None:
    fixed = {"model": {"weights": "trial:synthetic/best"}, "data": {}}
    spec = make_spec(study="transfer", model={"class": "nets:Line", "weights": "trial:synthetic/best"})
    create_or_continue(store, ResolvedStudy(spec, SPACE, fixed))

    assert belongings_of(store, "synthetic", artifacts=artifacts).referring == ("transfer",)
    assert belongings_of(store, "transfer", artifacts=artifacts).referring == ()
    assert "study transfer still names it trial:synthetic/..." in str(
        rename_study(store, "synthetic", "renamed", artifacts=artifacts)
    )


# ---- delete


def test_a_deleted_study_leaves_no_row_in_any_table_and_others_as_they_are(
    store: Store, study: StoredStudy, artifacts: Path
) -> None:
    other = create_study(store, study="other")
    kept = place(store, other, artifacts)
    before = everything(store)
    doomed = create_study(store, study="doomed")
    worker = Claimant(store, doomed)
    for number in range(3):
        claim = worker.claim()
        assert claim is not None
        worker.begin(claim)
        worker.report(claim, 1, 0.1 * number)
        worker.finish(claim, 0.1 * number, attributes={"epochs": 1})
    enqueue_points(store, "doomed", [Point({"depth": 2})])
    with optuna_storage(store.url) as storage:
        theirs = optuna.load_study(study_name="doomed", storage=storage)
        theirs.set_user_attr("note", "mine")
        storage.record_heartbeat(theirs.trials[0]._trial_id)  # a table that we never read
    folder = place(store, doomed, artifacts)
    assert everything(store)["trial_heartbeats"] == 1

    deleted = delete_study(store, "doomed", artifacts=artifacts)

    assert everything(store) == before
    assert (deleted.trials, deleted.size, deleted.problems) == (5, 1008, ())
    assert not folder.parent.exists()
    assert kept.exists()
    assert [found.study for found in list_studies(store)] == ["synthetic", "other"]
    with pytest.raises(StoreError, match="no study 'doomed'"):
        delete_study(store, "doomed", artifacts=artifacts)


def test_a_study_of_another_program_is_deleted_as_well(store: Store, artifacts: Path) -> None:
    before = everything(store)
    with optuna_storage(store.url) as storage:
        theirs = optuna.create_study(study_name="theirs", storage=storage)
        theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
        running = theirs.ask()

        with pytest.raises(StoreError, match=r"\(trial 2 by another program\)"):
            delete_study(store, "theirs", artifacts=artifacts)
        theirs.tell(running, 0.5)

    assert delete_study(store, "theirs", artifacts=artifacts).trials == 3
    assert everything(store) == before


def test_a_study_that_is_trained_is_deleted_only_by_force_and_its_worker_drops_the_result(
    store: Store, study: StoredStudy, artifacts: Path
) -> None:
    worker = Claimant(store, study)
    claim = worker.claim()
    assert claim is not None
    worker.begin(claim)
    worker.report(claim, 1, 0.5)
    live = LiveStudy(store, "synthetic", artifacts=artifacts)

    with pytest.raises(StoreError, match=r"\(trial 0 by here:1\): 'hpo pause' or 'hpo stop' it first; with --force"):
        live.delete()
    assert live.delete(force=True).trials == 1

    assert worker.report(claim, 2, 0.6)[1] is False
    assert worker.finish(claim, 0.6) is False
    assert worker.claim() is None
    assert load_progress(store, study.study_id).is_deleted
    assert all(count == 0 for count in everything(store).values())


def test_a_study_of_the_same_name_and_number_is_another_one_to_who_knew_the_first(
    store: Store, study: StoredStudy, artifacts: Path
) -> None:
    delete_study(store, "synthetic", artifacts=artifacts)
    again = create_study(store)
    worker = register_worker(store, host="here", pid=1, slots=1)

    def claim(known: StoredStudy) -> object:
        return claim_trial(store, again.study_id, worker_id=worker, slot=0, device="cpu", known=known)

    if store.url.is_sqlite:
        assert again.study_id == study.study_id
    assert claim(study) is None
    assert claim(again) is not None


def test_links_in_the_artifacts_are_not_followed(
    store: Store, study: StoredStudy, artifacts: Path, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    folder = place(store, study, artifacts)
    (folder / "link").symlink_to(precious)

    delete_study(store, "synthetic", artifacts=artifacts)

    assert not folder.parent.exists()
    assert (precious / "file").read_text() == "mine"


def test_what_cannot_be_removed_is_said_and_the_rows_are_gone(
    store: Store, study: StoredStudy, artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place(store, study, artifacts)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", refuse)  # the tests may run as root, who may remove anything
    deleted = delete_study(store, "synthetic", artifacts=artifacts)

    assert deleted.problems == (f"{folder.parent}: Permission denied",)
    assert deleted.size == 0
    assert not study_exists(store, "synthetic")


def test_every_table_with_rows_of_a_study_refers_to_it_or_to_its_trials() -> None:
    """`delete_rows` finds what belongs to a study by what refers to it."""
    referred = {
        table.name: {key.column.table.name for key in table.foreign_keys} for table in hpo_metadata.sorted_tables
    }

    assert {name: keys - {hpo_workers.name} for name, keys in referred.items() if name not in OF_NO_STUDY} == {
        "hpo_studies": {studies.name},
        "hpo_attempts": {trials.name},
        "hpo_epochs": {trials.name},
        "hpo_trials": {trials.name},
        "hpo_findings": {studies.name},
        "hpo_notifications": {studies.name},
    }
