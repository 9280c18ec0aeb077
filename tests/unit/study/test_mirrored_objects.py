"""Artifacts in an object store: where they are mirrored, which attempt may write, and what is not taken from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from object_store import Bucket, object_store

from hpo.errors import ObjectStoreError, SpecError
from hpo.settings import artifacts_folder
from hpo.study.object_store import ObjectStore, address_of, attempt_in, local_path, note_attempt


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with object_store() as found:
        yield found


@pytest.fixture
def store(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """Of one machine; `elsewhere` is another one."""
    for name, value in bucket.machine(tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    return ObjectStore(local_path(f"{bucket.url}/{tmp_path.name}"))


def elsewhere(store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    monkeypatch.setenv("HPO_ARTIFACTS_CACHE", str(tmp_path / "other"))
    return ObjectStore(local_path(store.url))


def trial(store: ObjectStore, **files: str) -> Path:
    folder = store.mirror / "study-20260101-000000" / "00007"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def test_an_address_and_its_mirror_are_each_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HPO_ARTIFACTS_CACHE", str(tmp_path))

    path = local_path("s3://bucket/searches/study/00007/best.ckpt")

    assert path == tmp_path / "s3" / "bucket" / "searches" / "study" / "00007" / "best.ckpt"
    assert address_of(path) == "s3://bucket/searches/study/00007/best.ckpt"
    assert address_of(Path("/elsewhere/best.ckpt")) == "/elsewhere/best.ckpt"
    assert local_path("/elsewhere/best.ckpt") == Path("/elsewhere/best.ckpt")
    # A path of pathlib has lost a slash.
    assert artifacts_folder(Path("s3://bucket/searches/"), tmp_path) == tmp_path / "s3" / "bucket" / "searches"


@pytest.mark.parametrize("address", ["s3://", "gs://bucket", "http://host/bucket"])
def test_what_is_no_address_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="should be a folder, or an address such as s3://BUCKET/FOLDER"):
        artifacts_folder(Path(address), tmp_path)


def test_only_what_has_changed_is_uploaded_and_nothing_that_passes(store: ObjectStore) -> None:
    folder = trial(store, last_ckpt="state", best_ckpt="weights", previous_ckpt="old", log_txt="a")
    (folder / "best.partial").write_text("half")
    (folder / "rendezvous-1").write_text("")
    (folder / "link.txt").symlink_to(folder / "log.txt")
    note_attempt(folder, 1)
    sent: dict[Path, tuple[int, int, int]] = {}

    first = store.upload(folder, sent, attempt=1)
    (folder / "log.txt").write_text("ab")
    second = store.upload(folder, sent, attempt=1)

    assert (first, second) == (len("stateweightsa"), 2)
    assert sorted(path.name for path in store.sizes()) == ["best.ckpt", "last.ckpt", "log.txt"]


def test_another_machine_gets_what_is_newer_and_keeps_what_is_its_own(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.upload(trial(store, last_ckpt="of attempt 1", log_txt="1"), {}, attempt=1)
    other = elsewhere(store, tmp_path, monkeypatch)
    folder = trial(other)

    assert sorted(path.name for path in other.download(folder)) == ["last.ckpt", "log.txt"]
    assert other.download(folder) == []
    note_attempt(folder, 2)
    (folder / "last.ckpt").write_text("of attempt 2, not uploaded")
    (folder / "log.txt").unlink()

    assert [path.name for path in other.download(folder)] == ["log.txt"]
    assert (folder / "last.ckpt").read_text() == "of attempt 2, not uploaded"
    assert attempt_in(folder) == 2


def test_an_attempt_that_has_lost_its_trial_uploads_nothing_more(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trial(store, last_ckpt="of attempt 1")
    store.upload(folder, {}, attempt=1)
    other = elsewhere(store, tmp_path, monkeypatch)
    other.begin(trial(other), 2)
    other.upload(trial(other, last_ckpt="of attempt 2"), {}, attempt=2)
    (folder / "last.ckpt").write_text("of a worker that was suspended")

    with pytest.raises(ObjectStoreError, match="attempt 2 of trial 00007 goes on elsewhere, after attempt 1"):
        store.upload(folder, {}, attempt=1)

    assert store.read(folder / "last.ckpt") == b"of attempt 2"


def test_an_object_that_is_not_as_it_was_written_is_refused(
    store: ObjectStore, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trial(store, best_ckpt="weights")
    store.upload(folder, {}, attempt=1)
    key = f"{tmp_path.name}/{folder.parent.name}/00007/best.ckpt"
    bucket.put(key, b"others", attributes={"sha256": "0" * 64, "attempt": "1"})
    other = elsewhere(store, tmp_path, monkeypatch)

    with pytest.raises(ObjectStoreError, match=r"best\.ckpt is damaged: its SHA-256 is not the one"):
        other.download(trial(other))

    assert list(trial(other).iterdir()) == []


def test_files_and_folders_are_removed_there(store: ObjectStore) -> None:
    folder = trial(store, best_ckpt="weights", log_txt="a")
    store.upload(folder, {}, attempt=1)

    store.remove([folder / "best.ckpt", folder / "of-nobody.txt"])
    assert [path.name for path in store.sizes()] == ["log.txt"]
    store.remove([folder.parent])

    assert store.sizes() == {}
