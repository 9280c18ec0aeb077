"""Artifacts in an object store: where they are on this machine, and how they get there and back.

A folder of this machine mirrors the object store: `s3://bucket/prefix/study/00007/best.ckpt` is
`CACHE/s3/bucket/prefix/study/00007/best.ckpt`. Whatever works with folders works with the mirror; what is special about
an object store is here. Each object says in its attributes which attempt of its trial wrote it, and its SHA-256.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from hpo.errors import ObjectStoreError, SpecError
from hpo.study.artifacts import sha256_of
from hpo.study.job import LAST_CHECKPOINT, PREVIOUS_CHECKPOINT

SCHEME = "s3"
CACHE = "HPO_ARTIFACTS_CACHE"
ENDPOINT = "AWS_ENDPOINT_URL"
ATTEMPT = ".attempt"  # the file in a trial's folder with the attempt of this machine that wrote there last

_PREFIX = f"{SCHEME}://"
_LARGEST_IN_MEMORY = 8 << 20
_RETRIES: Any = {"max_retries": 6, "retry_timeout": timedelta(seconds=30)}
_CLIENT: Any = {"connect_timeout": "5s", "timeout": "300s"}
_MOST_KEYS_A_REQUEST = 1000
# What S3 answers, and what it means.
_ANSWERS = {
    "NoSuchBucket": "there is no such bucket: create it, or name another one with --artifacts",
    "InvalidAccessKeyId": "the key is not known there: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "SignatureDoesNotMatch": "the secret is not the one of the key: set AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the token has expired: set AWS_SESSION_TOKEN anew",
    "InvalidToken": "the token is not valid: set AWS_SESSION_TOKEN anew",
    "PermanentRedirect": "the bucket is in another region: set AWS_DEFAULT_REGION",
    "AccessDenied": "access is denied: the key needs the rights to list, get, put and delete objects there",
    "403": "access is denied: the key needs the rights to list, get, put and delete objects there",
    "169.254.": "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "error sending request": f"it cannot be reached: check the network, and {ENDPOINT} of another service than AWS",
}

Identity = tuple[int, int, int]  # inode, time of modification, size


def cache_folder() -> Path:
    """Where object stores are mirrored: HPO_ARTIFACTS_CACHE, or a folder in the user's cache."""
    if chosen := os.environ.get(CACHE):
        return Path(chosen).expanduser().resolve()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home).resolve() / "hpo-service" / "artifacts"


def is_address(text: str) -> bool:
    """Whether it names something in an object store."""
    return text.startswith(_PREFIX)


def local_path(address: str) -> Path:
    """The path on this machine of an artifact that the store names: of a file, or of a mirrored object."""
    return cache_folder() / SCHEME / address.removeprefix(_PREFIX) if is_address(address) else Path(address)


def address_of(path: Path) -> str:
    """What the store names an artifact: its path, or the address of the object that it mirrors."""
    mirrors = cache_folder() / SCHEME
    return _PREFIX + path.relative_to(mirrors).as_posix() if path.is_relative_to(mirrors) else str(path)


def object_store_of(artifacts: Path) -> ObjectStore | None:
    """The object store that a folder of artifacts mirrors; None for a folder of its own.

    Raises:
        SpecError: the package for object stores is not installed, or the address is malformed.
    """
    return ObjectStore(artifacts) if is_address(address_of(artifacts)) else None


class ObjectStore:
    """An object store, and the folder that mirrors it.

    Attributes:
        url: `s3://bucket/prefix`.
    """

    def __init__(self, mirror: Path) -> None:
        self.mirror = mirror
        self.url = address_of(mirror)
        try:
            import obstore
            from obstore.store import S3Store
        except ImportError as error:
            raise SpecError(f"--artifacts {self.url} needs obstore: pip install 'hpo-service[s3]'") from error
        self._obstore = obstore
        endpoint = os.environ.get(ENDPOINT, "")
        config: Any = {"virtual_hosted_style_request": False} if endpoint else None
        client: Any = {**_CLIENT, **({"allow_http": True} if endpoint.startswith("http://") else {})}
        try:
            self._store = S3Store.from_url(self.url, config=config, client_options=client, retry_config=_RETRIES)
        except Exception as error:  # its own classes of errors, which have no common one in its interface
            raise SpecError(f"--artifacts {self.url}: {_first_line(error)}") from error

    def check(self) -> None:
        """Try to write, read and remove an object.

        Raises:
            SpecError: one of them fails; says why, and what to do.
        """
        probe = f".hpo-probe-{os.getpid()}"
        try:
            self._obstore.put(self._store, probe, b"hpo")
            self._obstore.get(self._store, probe).bytes()
            self._obstore.delete(self._store, probe)
        except Exception as error:
            raise SpecError(f"--artifacts {self.url}: {_explained(error)}") from error

    def begin(self, folder: Path, attempt: int) -> None:
        """Note that an attempt goes on with a trial, so that one that lost it uploads nothing more.

        Raises:
            ObjectStoreError: it fails.
        """
        with _errors(self.url):
            self._obstore.put(self._store, f"{self._key(folder)}/{ATTEMPT}", str(attempt).encode())

    def mark(self, mark: Path) -> None:
        """Put the mark of a study's folder.

        Raises:
            ObjectStoreError: it fails.
        """
        with _errors(self.url):
            self._obstore.put(self._store, self._key(mark), mark.read_bytes())

    def _attempt(self, folder: Path) -> int:
        with _errors(self.url):
            try:
                return int(bytes(self._obstore.get(self._store, f"{self._key(folder)}/{ATTEMPT}").bytes()))
            except (FileNotFoundError, ValueError):
                return 0

    def upload(self, folder: Path, sent: dict[Path, Identity], *, attempt: int, without: Iterable[str] = ()) -> int:
        """Upload what is new or has changed in a trial's folder, the state to resume from last; bytes that were sent.

        Args:
            sent: the files that were uploaded before, which is brought up to date.
            without: names of files that are not needed.

        Raises:
            ObjectStoreError: it fails, or a later attempt goes on; what was uploaded until then stays.
        """
        if (later := self._attempt(folder)) > attempt:
            raise ObjectStoreError(f"attempt {later} of trial {folder.name} goes on elsewhere, after attempt {attempt}")
        size = 0
        for path in _files(folder):
            if path.name in without:
                continue
            try:
                size += self._put(path, sent, attempt)
            except FileNotFoundError:  # its trial has replaced it, or another worker removed it
                continue
        return size

    def _put(self, path: Path, sent: dict[Path, Identity], attempt: int) -> int:
        with path.open("rb") as file:  # what is replaced meanwhile stays open as it was
            found = os.fstat(file.fileno())
            identity = (found.st_ino, found.st_mtime_ns, found.st_size)
            if sent.get(path) == identity:
                return 0
            if found.st_size <= _LARGEST_IN_MEMORY:  # a log may grow meanwhile
                content: Any = file.read()
                digest = hashlib.sha256(content).hexdigest()
            else:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                file.seek(0)
                content = file
            attributes = {"sha256": digest, "attempt": str(attempt)}
            with _errors(self.url):
                self._obstore.put(self._store, self._key(path), content, attributes=attributes)
        sent[path] = identity
        return found.st_size

    def download(self, folder: Path, *, wanted: Callable[[str], bool] = lambda name: True) -> list[Path]:
        """Bring what the object store has of a trial into its folder; the files that were written.

        Files that this machine's own latest attempt has written stay as they are, since they are as new or newer.

        Args:
            wanted: is given the name of each file, with that of its folder below the trial's.

        Raises:
            ObjectStoreError: it fails, or an object is not as it was written.
        """
        key = self._key(folder) + "/"
        with _errors(self.url):
            listed = [entry["path"] for entry in self._obstore.list(self._store, key).collect()]
        names = [
            name for path in listed if wanted(name := path.removeprefix(key)) and _is_plain(name) and name != ATTEMPT
        ]
        attributes: dict[str, Mapping[str, str]] = {}
        for name in names:
            with _errors(self.url):
                found = self._obstore.get(self._store, key + name, options={"head": True})
            attributes[name] = found.attributes
        newest = max((int(each.get("attempt", 0)) for each in attributes.values()), default=0)
        written = []
        for name in names:
            target, digest = folder / name, attributes[name].get("sha256")
            if target.exists() and (newest <= attempt_in(folder) or sha256_of(target) == digest):
                continue
            self._get(key + name, target, digest)
            written.append(target)
        return written

    def _get(self, key: str, target: Path, digest: str | None) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial, found = target.with_name(f"{target.name}.partial"), hashlib.sha256()
        with _errors(self.url), partial.open("wb") as file:
            for block in self._obstore.get(self._store, key):
                found.update(block)
                file.write(block)
        if digest is not None and found.hexdigest() != digest:
            partial.unlink()
            raise ObjectStoreError(f"{self.url}: {key} is damaged: its SHA-256 is not the one it was uploaded with")
        partial.replace(target)

    def remove(self, paths: Iterable[Path]) -> None:
        """Remove the objects that these files, or all files below these folders, mirror.

        Raises:
            ObjectStoreError: it fails.
        """
        with _errors(self.url):
            keys = [key for path in paths for key in (self._key(path), *self._below(path))]
            for start in range(0, len(keys), _MOST_KEYS_A_REQUEST):
                self._obstore.delete(self._store, keys[start : start + _MOST_KEYS_A_REQUEST])

    def read(self, path: Path) -> bytes:
        """The object that a path mirrors.

        Raises:
            ObjectStoreError: it cannot be read.
        """
        with _errors(self.url):
            return bytes(self._obstore.get(self._store, self._key(path)).bytes())

    def sizes(self, folder: Path | None = None) -> dict[Path, int]:
        """All objects below a folder, or of the whole object store, as the paths that mirror them: their bytes.

        Raises:
            ObjectStoreError: they cannot be listed.
        """
        prefix = None if folder is None else self._key(folder) + "/"
        with _errors(self.url):
            listed = self._obstore.list(self._store, prefix).collect()
        return {self.mirror / entry["path"]: int(entry["size"]) for entry in listed if _is_plain(entry["path"])}

    def _below(self, folder: Path) -> list[str]:
        return [entry["path"] for entry in self._obstore.list(self._store, self._key(folder) + "/").collect()]

    def _key(self, path: Path) -> str:
        return path.relative_to(self.mirror).as_posix()


def fetch_trial(folder: Path) -> None:
    """Bring a trial's files to this machine, if they are in an object store: what is needed to look at it or use it.

    Args:
        folder: the trial's, as `local_path` has it.

    Raises:
        ObjectStoreError, SpecError: the object store cannot be used.
    """
    store = object_store_of(folder.parents[1])
    if store is not None:
        store.download(folder, wanted=lambda name: Path(name).name != LAST_CHECKPOINT)  # only a worker resumes


def fetch_study(folder: Path) -> None:
    """Bring all files of a study's trials to this machine, if they are in an object store.

    Raises:
        ObjectStoreError, SpecError: the object store cannot be used.
    """
    store = object_store_of(folder.parent)
    if store is not None:
        for trial in sorted({folder / path.relative_to(folder).parts[0] for path in store.sizes(folder)}):
            store.download(trial)


def check_artifacts(artifacts: Path) -> None:
    """Check the object store that a folder of artifacts mirrors, if it does.

    Raises:
        SpecError: it cannot be used; says why, and what to do.
    """
    if (store := object_store_of(artifacts)) is not None:
        store.check()


def attempt_in(folder: Path) -> int:
    """The attempt of this machine that has written last into a trial's folder; 0 where none has."""
    try:
        return int((folder / ATTEMPT).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def note_attempt(folder: Path, attempt: int) -> None:
    """Write down that an attempt of this machine writes into a trial's folder from now on.

    Raises:
        OSError: the folder cannot be written.
    """
    (folder / ATTEMPT).write_text(str(attempt), encoding="ascii")


def _files(folder: Path) -> Iterator[Path]:
    found = [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]
    found = [path for path in found if path.is_file() and not path.is_symlink() and not _is_passing(path.name)]
    return iter(sorted(found, key=lambda path: (path.name == LAST_CHECKPOINT, path)))


def _is_passing(name: str) -> bool:
    is_unfinished = name.endswith(".partial") or name.startswith(("rendezvous-", ATTEMPT))
    return is_unfinished or name == PREVIOUS_CHECKPOINT  # `last.ckpt` of the object store is whole


def _is_plain(name: str) -> bool:
    """Whether it stays below the folder that it is written into."""
    return bool(name) and not name.startswith("/") and not {"", ".", ".."} & set(name.split("/"))


@contextlib.contextmanager
def _errors(url: str) -> Iterator[None]:
    """Turns an error of the object store into one that says what to do; those of this machine's disk stay."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # the library's errors have no class in common that it exports
        raise ObjectStoreError(f"{url}: {_explained(error)}") from error


def _explained(error: Exception) -> str:
    text = str(error)
    advice = next((advice for token, advice in _ANSWERS.items() if token in text), None)
    return advice or _first_line(error)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
