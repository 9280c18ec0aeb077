"""A study leaves one store as a file and enters another one, SQLite or PostgreSQL, equal on both sides."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from projects.stored import PARAMS, folder_of
from projects.synthetic import SPACE, Claimant, begin_next, create_study, make_spec
from sqlalchemy import select
from stores import everything

import hpo
from hpo.archive.manifest import ArchivedFile, Manifest
from hpo.archive.reading import check_room
from hpo.errors import HpoError, StoreError
from hpo.queue.findings import add_finding
from hpo.queue.studies import StoredStudy, create_or_continue, load_study
from hpo.results.final import Final, Kept, Member, Rerun
from hpo.results.study import Study
from hpo.service.archive import archive_study, import_archive
from hpo.store import Store
from hpo.store.optuna_storage import optuna_storage
from hpo.store.tables import hpo_workers
from hpo.study.folder_mark import marked_store
from hpo.study.plan import Candidate, Plan
from hpo.study.resolved_study import ResolvedStudy
from hpo.study.states import Direction, TrialState

Tables = dict[str, list[Any]]


@pytest.fixture
def other_url(request: pytest.FixtureRequest, store: Store, tmp_path: Path) -> str:
    """The URL of a store of the other database."""
    return request.getfixturevalue("postgres_url") if store.url.is_sqlite else f"sqlite:///{tmp_path}/other.db"


def keep(worker: Claimant, artifacts: Path, number: int) -> Path:
    """The files that a trial with a checkpoint has."""
    folder = folder_of(artifacts, worker.study, number)
    folder.mkdir(parents=True)
    (folder / "best.ckpt").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    (folder / "log.txt").write_text(f"trial {number}\n")
    return folder / "best.ckpt"


def search(store: Store, artifacts: Path) -> Claimant:
    """Five trials: two complete, the second with a checkpoint; a failed, a pruned and a waiting one."""
    worker = Claimant(store, create_study(store, budget={"trials": 7}))
    worker.finish(begin_next(worker, 0.1, 1 / 3), 1 / 3, best_epoch=2)
    best = begin_next(worker, 0.5, 0.75, float("inf"))
    path = keep(worker, artifacts, best.number)
    worker.finish(
        best, 0.75, best_epoch=2, checkpoint=str(path), checkpoint_sha256=hashlib.sha256(b"weights").hexdigest()
    )
    worker.finish(
        begin_next(worker, 0.2), None, state="FAIL", cause="error: ValueError", error="ValueError: é\udcff"[:-1]
    )
    worker.finish(begin_next(worker, 0.3), 0.3, state="PRUNED", best_epoch=1)
    hpo.Study(store, "synthetic").enqueue(lr=1e-2)
    return worker


def finalized(store: Store, searched: StoredStudy) -> None:
    """The study of its re-runs, and what was found."""
    plan = Plan("rerun", (Candidate(1, 0.75, PARAMS),), seeds=2)
    spec = make_spec(study="synthetic.final", budget={"trials": plan.trials}, first_trial="sampled")
    resolved = ResolvedStudy(spec, SPACE, {"model": {}, "data": {}})
    reruns = create_or_continue(store, resolved, plan=plan, parent_id=searched.study_id)[0]
    worker = Claimant(store, reruns)
    worker.finish(begin_next(worker, 0.7), 0.7, best_epoch=1)
    final = Final(
        "synthetic",
        "val_accuracy",
        Direction.MAXIMIZE,
        2,
        "synthetic.final",
        (Rerun(1, 0.75, (0.7,), None),),
        1,
        None,
        Kept.of([Member("synthetic.final", 0)], "train"),
    )
    with store.write() as connection:
        add_finding(connection, searched.study_id, "final", final.to_json())


def tables_of(archive: Path) -> Tables:
    """The rows of an archive by table, without what is another machine's: paths and times of creation."""
    with zipfile.ZipFile(archive) as zipped:
        names = [name for name in zipped.namelist() if name.startswith("tables/")]
        return {name: [json.loads(line) for line in zipped.read(name).splitlines()] for name in sorted(names)}


def records(store: Store, name: str = "synthetic") -> list[Any]:
    return [replace(record, checkpoint=None) for record in Study(store, name).trials()]


def test_a_study_is_equal_in_another_database_and_back(
    store: Store, other_url: str, artifacts: Path, tmp_path: Path
) -> None:
    finalized(store, search(store, artifacts).study)
    there, back = tmp_path / "there", tmp_path / "back"

    first = archive_study(store, "synthetic", tmp_path / "1.zip", artifacts=artifacts)
    with Store.create(other_url) as other:
        create_study(other, study="earlier")  # so that numbers differ
        told = import_archive(other, first.path, artifacts=there)
        second = archive_study(other, "synthetic", tmp_path / "2.zip", artifacts=there)
        with Store.create(f"sqlite:///{tmp_path}/third.db") as third:
            import_archive(third, second.path, artifacts=back)
            last = archive_study(third, "synthetic", tmp_path / "3.zip", artifacts=back)
            assert records(store) == records(other) == records(third)
            for name in ("synthetic", "synthetic.final"):
                here, again = (
                    replace(Study(one, name).status(), best=None, workers=(), waiting_for=None)
                    for one in (store, third)
                )
                assert here == again

        assert tables_of(first.path) == tables_of(second.path) == tables_of(last.path)
        assert str(told).startswith("study synthetic was imported: 5 trials, 1 checkpoint\nwith it synthetic.final")
        best = Study(other, "synthetic").best()[0]
        assert best.checkpoint == str(folder_of(there, load_study(other, "synthetic"), 1) / "best.ckpt")
        assert best.kept_checkpoint().read_bytes() == b"weights"
        assert (Path(best.checkpoint).parent / "log.txt").read_text() == "trial 1\n"
        assert marked_store(Path(best.checkpoint).parents[1]) == str(other.url)
        assert Study(other, "synthetic").final() == Study(store, "synthetic").final()
        with optuna_storage(other.url) as storage, optuna_storage(store.url) as before:
            mine, theirs = (optuna.load_study(study_name="synthetic", storage=one) for one in (before, storage))
            assert [replace_id(trial) for trial in mine.trials] == [replace_id(trial) for trial in theirs.trials]


def replace_id(trial: optuna.trial.FrozenTrial) -> optuna.trial.FrozenTrial:
    trial._trial_id = 0
    return trial


def test_every_table_that_refers_to_a_study_is_in_the_archive(store: Store, artifacts: Path, tmp_path: Path) -> None:
    with store.write() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE later (id INTEGER PRIMARY KEY, note TEXT, trial_id INTEGER REFERENCES trials (trial_id))"
        )
    worker = search(store, artifacts)
    with store.write() as connection:
        connection.exec_driver_sql("INSERT INTO later (id, note, trial_id) SELECT 7, 'x', MIN(trial_id) FROM trials")

    archived = archive_study(store, worker.study.name, tmp_path / "a.zip", artifacts=artifacts)

    assert tables_of(archived.path)["tables/later.jsonl"] == [{"trial_id": 0, "note": "x"}]
    assert set(archived_names(archived.path)) >= set(everything(store))


def archived_names(archive: Path) -> list[str]:
    return [name.removeprefix("tables/").removesuffix(".jsonl") for name in tables_of(archive)]


def test_another_name_is_that_of_the_study_its_file_its_final_model_and_its_folder(
    store: Store, artifacts: Path, tmp_path: Path
) -> None:
    finalized(store, search(store, artifacts).study)
    archived = archive_study(store, "synthetic", tmp_path / "a.zip", artifacts=artifacts)

    import_archive(store, archived.path, name="copy", artifacts=artifacts)

    copy = load_study(store, "copy")
    final = Study(store, "copy").final()
    assert copy.resolved.spec.study == "copy"
    assert final is not None
    assert (final.study, final.reruns_study, final.kept.study) == ("copy", "copy.final", "copy.final")
    assert load_study(store, "copy.final").parent_id == copy.study_id
    assert records(store, "copy") == records(store)
    assert (folder_of(artifacts, copy, 1) / "best.ckpt").read_bytes() == b"weights"
    assert Study(store, "synthetic").final() != final


def test_an_import_beside_the_store_that_it_came_from_gets_a_folder_of_its_own(
    store: Store, other_url: str, artifacts: Path, tmp_path: Path
) -> None:
    search(store, artifacts)
    archived = archive_study(store, "synthetic", tmp_path / "a.zip", artifacts=artifacts)

    with Store.create(other_url) as other:
        import_archive(other, archived.path, artifacts=artifacts)

        here, there = (Study(one, "synthetic").best()[0].kept_checkpoint() for one in (store, other))
        assert here != there
        assert here.read_bytes() == there.read_bytes()


def test_what_trains_is_archived_as_handed_back_and_goes_on_in_the_other_store(
    store: Store, other_url: str, artifacts: Path, tmp_path: Path
) -> None:
    worker = search(store, artifacts)
    running = begin_next(worker, 0.4, 0.6)
    path = keep(worker, artifacts, running.number)
    path.with_name("last.ckpt").write_bytes(b"state")

    archived = archive_study(store, "synthetic", tmp_path / "a.zip", artifacts=artifacts)
    worker.report(running, 3, 0.7)  # its worker notices nothing

    with Store.create(other_url) as other:
        import_archive(other, archived.path, artifacts=tmp_path / "there")
        study = load_study(other, "synthetic")
        record = Study(other, "synthetic").trial(running.number)
        assert record is not None
        assert record.state == TrialState.IDLE
        assert record.causes == ("preempted: the study was archived while it trained",)
        assert (folder_of(tmp_path / "there", study, running.number) / "last.ckpt").read_bytes() == b"state"
        claim = Claimant(other, study).claim()
        assert claim is not None
        assert (claim.number, claim.attempt) == (running.number, 2)
        with other.read() as connection:
            assert (
                None
                not in connection.scalars(select(hpo_workers.c.ended).where(hpo_workers.c.host == "here")).all()[:-1]
            )


def test_a_trial_whose_checkpoint_is_on_another_machine_is_archived_without_it(
    store: Store, artifacts: Path, tmp_path: Path
) -> None:
    search(store, artifacts)
    best = Study(store, "synthetic").best()[0].kept_checkpoint()
    best.unlink()

    archived = archive_study(store, "synthetic", tmp_path / "a.zip", artifacts=artifacts)
    import_archive(store, archived.path, name="copy", artifacts=artifacts)

    assert str(archived).endswith("1 checkpoint not in it: not on this machine")
    assert Study(store, "copy").best()[0].checkpoint is None


def test_a_checkpoint_that_was_changed_is_told_and_stays_refused(store: Store, artifacts: Path, tmp_path: Path) -> None:
    search(store, artifacts)
    Study(store, "synthetic").best()[0].kept_checkpoint().write_bytes(b"others")

    archived = archive_study(store, "synthetic", tmp_path / "a.zip", artifacts=artifacts)
    import_archive(store, archived.path, name="copy", artifacts=artifacts)

    assert str(archived).endswith("1 checkpoint in it not as its trial wrote it: it cannot be loaded")
    with pytest.raises(HpoError, match="is not the file that trial 1 wrote"):
        Study(store, "copy").best()[0].kept_checkpoint()


def test_a_study_of_another_program_is_archived_too(
    store: Store, other_url: str, artifacts: Path, tmp_path: Path
) -> None:
    with optuna_storage(store.url) as storage:
        study = optuna.create_study(storage=storage, study_name="../theirs", directions=["minimize", "maximize"])
        study.set_user_attr("note", [1, 2])
        study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), float("inf")), n_trials=3)
        told = [(trial.params, trial.values) for trial in study.trials]

    archived = archive_study(store, "../theirs", tmp_path / "a.zip", artifacts=artifacts)
    with Store.create(other_url) as other:
        import_archive(other, archived.path, artifacts=artifacts)

        with optuna_storage(other.url) as storage:
            copy = optuna.load_study(study_name="../theirs", storage=storage)
            assert [(trial.params, trial.values) for trial in copy.trials] == told
            assert copy.user_attrs == {"note": [1, 2]}


def test_python_archives_and_imports(sqlite_store: Store, artifacts: Path, tmp_path: Path) -> None:
    search(sqlite_store, artifacts)

    archived = hpo.Study(sqlite_store, "synthetic", artifacts=artifacts).archive(tmp_path / "a.zip")
    copy = hpo.import_study(archived.path, f"sqlite:///{tmp_path}/new.db", artifacts=tmp_path / "there")

    assert [record.number for record in copy.trials()] == [0, 1, 2, 3, 4]
    assert copy.best()[0].kept_checkpoint().is_relative_to(tmp_path / "there")


# ---- what is refused


def test_a_name_that_the_store_has_is_refused_before_a_file_is_written(
    store: Store, artifacts: Path, tmp_path: Path
) -> None:
    finalized(store, search(store, artifacts).study)
    archived = archive_study(store, "synthetic", tmp_path / "a.zip", artifacts=artifacts)
    before, files = everything(store), sorted(artifacts.rglob("*"))

    with pytest.raises(StoreError, match=r"the store has a study 'synthetic' already.*--name NEW"):
        import_archive(store, archived.path, artifacts=artifacts)

    assert (everything(store), sorted(artifacts.rglob("*"))) == (before, files)


def test_an_existing_file_is_replaced_by_force_only(store: Store, artifacts: Path, tmp_path: Path) -> None:
    search(store, artifacts)
    file = tmp_path / "a.zip"
    file.write_text("mine")

    with pytest.raises(StoreError, match=r"a.zip exists already: name another file, or replace it with --force"):
        archive_study(store, "synthetic", file, artifacts=artifacts)
    archive_study(store, "synthetic", file, artifacts=artifacts, force=True)

    assert zipfile.is_zipfile(file)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


Change = Callable[[dict[str, bytes]], None]


def changed(archive: Path, change: Change, *, is_consistent: bool = False) -> Path:
    """A copy with other contents; `is_consistent` also changes sizes and checksums, as who wants harm does."""
    with zipfile.ZipFile(archive) as zipped:
        files = {name: zipped.read(name) for name in zipped.namelist()}
    change(files)
    if is_consistent:
        manifest = json.loads(files["manifest.json"])
        manifest["files"] = [
            {"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in files.items()
            if name != "manifest.json"
        ]
        files["manifest.json"] = json.dumps(manifest).encode()
    copy = archive.with_name("changed.zip")
    with zipfile.ZipFile(copy, "w") as zipped:
        for name, data in files.items():
            zipped.writestr(name, data)
    return copy


def edit(name: str, old: bytes, new: bytes) -> Change:
    def change(files: dict[str, bytes]) -> None:
        assert old in files[name]
        files[name] = files[name].replace(old, new, 1)

    return change


def add(name: str, data: bytes = b"x") -> Change:
    return lambda files: files.update({name: data})


def of_manifest(**values: Any) -> Change:
    def change(files: dict[str, bytes]) -> None:
        files["manifest.json"] = json.dumps(json.loads(files["manifest.json"]) | values).encode()

    return change


BEST = "files/0/00001/best.ckpt"


@pytest.fixture
def archive(sqlite_store: Store, artifacts: Path, tmp_path: Path) -> Path:
    search(sqlite_store, artifacts)
    return archive_study(sqlite_store, "synthetic", tmp_path / "a.zip", artifacts=artifacts).path


@pytest.mark.parametrize(
    ("change", "is_consistent", "message"),
    [
        (edit(BEST, b"weights", b"WEIGHTS"), False, f"{BEST} in it has another checksum than manifest.json says"),
        (edit("tables/trials.jsonl", b"COMPLETE", b"FAILFAIL"), False, "trials.jsonl in it has another checksum"),
        (edit(BEST, b"weights", b"more weights"), False, f"{BEST} in it has another size than manifest.json says"),
        (add("files/0/00001/last.ckpt"), False, "last.ckpt in it is not in its manifest.json: it was added"),
        (lambda files: files.pop(BEST), False, f"{BEST} of its manifest.json is not in it: it was removed"),
        (add("../../evil.py"), True, r"the file ../../evil.py in it leaves the folder of the archive"),
        (add("files/0/00001/../../x"), True, "leaves the folder"),
        (add("/etc/evil"), True, "the file /etc/evil in it leaves the folder"),
        (add("C:evil"), True, "the file C:evil in it leaves the folder"),
        (add("..\\evil"), True, "leaves the folder"),
        (add("files/0/00001/model.py"), True, "the file files/0/00001/model.py in it is none that an archive"),
        (add("files/0/00001/BEST.ckpt"), True, "BEST.ckpt in it is none that an archive"),
        (add("files/9/00001/best.ckpt"), True, "files/9/00001/best.ckpt in it belongs to no study of the archive"),
        (add("tables/hpo_secrets.jsonl"), True, "hpo_secrets.jsonl is of a table that this store does not have"),
        (edit("tables/trials.jsonl", b'"COMPLETE"', b'"WON"'), True, "trials.jsonl, line 1: state: WON is no value"),
        (edit("tables/trials.jsonl", b'"number": 0', b'"number": "0"'), True, "line 1: number: 0 is no value"),
        (edit("tables/trials.jsonl", b'"number": 0', b'"nubmer": 0'), True, "'nubmer' is missing, or is no column"),
        (edit("tables/trials.jsonl", b"{", b"["), True, "trials.jsonl, line 1: it is no row of a table"),
        (edit("tables/hpo_epochs.jsonl", b'"trial_id": 0', b'"trial_id": 99'), True, "trials.jsonl has no row 99"),
        (
            edit("tables/hpo_epochs.jsonl", b'"epoch": 2', b'"epoch": 1'),
            True,
            "hpo_epochs.jsonl does not fit the store",
        ),
        (
            edit("tables/hpo_studies.jsonl", b"val_accuracy", b"\\u0000"),
            True,
            "hpo_studies.jsonl, line 1: it is no study",
        ),
        (
            edit("tables/hpo_trials.jsonl", BEST.encode(), b"/etc/passwd"),
            True,
            "checkpoint /etc/passwd is not in the a",
        ),
        (edit("tables/studies.jsonl", b"synthetic", b"../../up"), True, "has other studies than its manifest"),
        (of_manifest(format="zip"), False, "is not an archive of a study"),
        (
            of_manifest(schema="9999"),
            False,
            "was written by a newer hpo-service .format 1, schema 9999.*update this one",
        ),
        (of_manifest(version=2), False, "was written by a newer hpo-service .format 2"),
        (of_manifest(schema="0004"), False, "by an older hpo-service .*'hpo db upgrade', and export the study again"),
        (of_manifest(optuna_schema="v9"), False, "was written with another Optuna"),
        (of_manifest(rows={"trials": "many"}), False, "its manifest.json has a value of the wrong kind"),
        (of_manifest(more=1), False, "its manifest.json lacks something, or has what none has"),
        (lambda files: files.pop("manifest.json"), False, "it has no manifest.json"),
        (add("manifest.json", b"{"), False, "its manifest.json is damaged"),
    ],
)
def test_an_archive_that_was_changed_is_refused_and_leaves_nothing(
    archive: Path, tmp_path: Path, change: Change, is_consistent: bool, message: str
) -> None:
    file = changed(archive, change, is_consistent=is_consistent)
    there = tmp_path / "there"

    with Store.create(f"sqlite:///{tmp_path}/new.db") as store:
        before = everything(store)
        with pytest.raises(StoreError, match=message):
            import_archive(store, file, artifacts=there)

        assert everything(store) == before
    assert list(there.rglob("*")) == []


def test_a_file_that_is_there_twice_is_refused(archive: Path, tmp_path: Path, sqlite_store: Store) -> None:
    with zipfile.ZipFile(archive, "a") as zipped, pytest.warns(UserWarning, match="Duplicate"):
        zipped.writestr(BEST, b"weights")

    with pytest.raises(StoreError, match=f"the file {BEST} is in it twice"):
        import_archive(sqlite_store, archive, name="copy", artifacts=tmp_path / "there")


def test_a_link_is_refused(archive: Path, tmp_path: Path, sqlite_store: Store) -> None:
    link = zipfile.ZipInfo("files/0/00001/last.ckpt")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "a") as zipped:
        zipped.writestr(link, "/etc/passwd")

    with pytest.raises(StoreError, match=r"last.ckpt in it is a link or a device"):
        import_archive(sqlite_store, archive, name="copy", artifacts=tmp_path / "there")


def test_a_file_that_is_larger_than_it_says_is_not_read_to_its_end(
    archive: Path, tmp_path: Path, sqlite_store: Store
) -> None:
    name = "files/0/00001/last.ckpt"
    file = changed(archive, add(name, bytes(10)), is_consistent=True)
    with zipfile.ZipFile(file) as zipped:
        files = {found: zipped.read(found) for found in zipped.namelist()}
    with zipfile.ZipFile(file, "w", compression=zipfile.ZIP_DEFLATED) as zipped:
        for found, data in files.items():
            zipped.writestr(found, bytes(50 << 20) if found == name else data)
    packed = bytearray(file.read_bytes())
    entry = packed.rindex(name.encode()) - 46  # in the directory at the end, where its size stands 24 bytes on
    assert packed[entry : entry + 4] == b"PK\1\2"
    packed[entry + 24 : entry + 28] = (10).to_bytes(4, "little")
    file.write_bytes(packed)

    with pytest.raises(StoreError, match=r"last.ckpt in it is damaged"):
        import_archive(sqlite_store, file, name="copy", artifacts=tmp_path / "there")

    assert list((tmp_path / "there").rglob("*")) == []


def test_more_than_the_disk_has_is_refused(tmp_path: Path) -> None:
    file = ArchivedFile(BEST, 1 << 60, "0" * 64)
    manifest = Manifest("s", ("s",), {}, (file,), created="2026-01-01", versions={})

    with pytest.raises(StoreError, match=r"holds 1,099,511,627,776.0 MiB, and the disk of .* has .* MiB left"):
        check_room(manifest, tmp_path / "not" / "yet", "a.zip")


@pytest.mark.parametrize("contents", [b"", b"PK", b"SQLite format 3\0", b"x" * 1000])
def test_other_files_are_no_archives(contents: bytes, tmp_path: Path, sqlite_store: Store) -> None:
    (tmp_path / "file").write_bytes(contents)

    with pytest.raises(StoreError, match="is not an archive of a study, or not all of it"):
        import_archive(sqlite_store, tmp_path / "file", artifacts=tmp_path / "there")


def test_half_an_archive_is_refused(archive: Path, tmp_path: Path, sqlite_store: Store) -> None:
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])

    with pytest.raises(StoreError, match="is not an archive of a study, or not all of it"):
        import_archive(sqlite_store, archive, artifacts=tmp_path / "there")


def test_an_import_that_fails_at_its_last_row_leaves_nothing(archive: Path, tmp_path: Path, postgres_url: str) -> None:
    def change(files: dict[str, bytes]) -> None:  # NUL is valid JSON, and no text of PostgreSQL
        [*rows, last] = files["tables/trial_user_attributes.jsonl"].splitlines() or [b""]
        del last
        row = {"trial_id": 0, "key": "k", "value_json": "\0"}
        files["tables/trial_user_attributes.jsonl"] = b"\n".join([*rows, json.dumps(row).encode()])
        manifest = json.loads(files["manifest.json"])
        manifest["rows"]["trial_user_attributes"] = len(rows) + 1
        files["manifest.json"] = json.dumps(manifest).encode()

    file = changed(archive, change, is_consistent=True)

    with Store.create(postgres_url) as store:
        before = everything(store)
        with pytest.raises(StoreError, match=r"trial_user_attributes.jsonl does not fit the store's tables"):
            import_archive(store, file, artifacts=tmp_path / "there")

        assert everything(store) == before
    assert list((tmp_path / "there").rglob("*")) == []
