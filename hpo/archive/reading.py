"""An archive is opened and checked: nothing in it is read further than its manifest says, nor believed before that."""

from __future__ import annotations

import hashlib
import json
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hpo.archive.manifest import MANIFEST, ArchivedFile, Manifest, check_names, read_manifest
from hpo.archive.writing import OnBytes
from hpo.errors import StoreError
from hpo.printable import in_a_line, mebibytes

MOST_OF_MANIFEST = 64 << 20  # bytes; of 20,000 trials with all their files it takes a tenth
_LONGEST_LINE = 64 << 20
_BLOCK = 1 << 20
_ENCRYPTED = 0x1
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)


@dataclass(frozen=True)
class Archive:
    """An open archive, whose names and sizes have been checked.

    Attributes:
        path: as the user named it.
    """

    path: Path
    manifest: Manifest
    _zipped: zipfile.ZipFile

    @property
    def tables(self) -> list[ArchivedFile]:
        return [file for file in self.manifest.files if file.name.startswith("tables/")]

    @property
    def files(self) -> list[ArchivedFile]:
        return [file for file in self.manifest.files if not file.name.startswith("tables/")]

    def check_tables(self) -> None:
        """Read all rows as bytes, and compare their checksums.

        Raises:
            StoreError: one differs from the manifest's.
        """
        for file in self.tables:
            for _ in self._checked(file):
                pass

    def rows(self, table: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """(line, row) of a table whose checksum has been compared; none of one that is not in the archive.

        Raises:
            StoreError: a line is no row.
        """
        name = f"tables/{table}.jsonl"
        if all(file.name != name for file in self.tables):
            return
        with self._opened(name) as entry:
            number = 0
            while line := entry.readline(_LONGEST_LINE):
                number += 1
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    row = None
                if not isinstance(row, dict):
                    raise StoreError(f"{self.path}: {name}, line {number}: it is no row of a table")
                yield number, row

    def extract(self, files: dict[str, Path], on_bytes: OnBytes) -> None:
        """Write files to new paths, and compare their checksums.

        Args:
            files: paths by the names in the archive; their folders are made.

        Raises:
            StoreError: one differs from the manifest, or the disk takes it not.
        """
        done, total = 0, sum(file.size for file in self.files)
        for file in self.files:
            path = files[file.name]
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                target = path.open("xb")
            except OSError as error:
                raise StoreError(f"{path} cannot be written: {error.strerror or error}") from error
            with target:
                for block in self._checked(file):
                    try:
                        target.write(block)
                    except OSError as error:
                        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from error
                    done += len(block)
                    on_bytes(done, total)

    def _checked(self, file: ArchivedFile) -> Iterator[bytes]:
        """The blocks of a file, no further than its size; its checksum is compared at its end."""
        digest, size = hashlib.sha256(), 0
        with self._opened(file.name) as entry:
            while block := entry.read(_BLOCK):
                size += len(block)
                if size > file.size:
                    break
                digest.update(block)
                yield block
        if size != file.size:
            raise StoreError(f"{self.path}: {file.name} in it has another size than {MANIFEST} says: it was changed")
        if digest.hexdigest() != file.sha256:
            raise StoreError(
                f"{self.path}: {file.name} in it has another checksum than {MANIFEST} says: it was damaged or changed. "
                "Nothing was imported; copy or export it again"
            )

    @contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        try:
            with self._zipped.open(name) as entry:
                yield entry
        except _DAMAGE as error:
            raise StoreError(f"{self.path}: {name} in it is damaged: {error}. Copy or export it again") from error


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open an archive, and check its manifest, and the names and sizes of its files.

    Raises:
        StoreError: it is no archive of ours, another release wrote it, or it has other files than its manifest says.
    """
    if path.is_dir():
        raise StoreError(f"{path} is a folder: name an archive, a file that 'hpo export --format archive' has written")
    try:
        zipped = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise StoreError(f"{path}: there is no such file") from None
    except zipfile.BadZipFile:
        raise StoreError(
            f"{path} is not an archive of a study, or not all of it: 'hpo export STUDY --format archive' writes one"
        ) from None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    with zipped:
        entries = zipped.infolist()
        _check_kinds(entries, path)
        manifest = read_manifest(_manifest(zipped, path), path)
        _check_against(manifest, entries, path)
        yield Archive(path, manifest, zipped)


def check_room(manifest: Manifest, folder: Path, archive: object) -> None:
    """Check that the disk has room for all that is in an archive.

    Args:
        folder: where its files are to be; it, or one above it, is there.

    Raises:
        StoreError: it has not.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if manifest.size > free:
        raise StoreError(
            f"{archive} holds {mebibytes(manifest.size)}, and the disk of {folder} has {mebibytes(free)} left"
        )


def _check_kinds(entries: list[zipfile.ZipInfo], path: Path) -> None:
    check_names([entry.orig_filename for entry in entries], path)
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            raise StoreError(f"{path}: {entry.filename} in it is a link or a device, which no archive of a study has")
        if entry.flag_bits & _ENCRYPTED or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise StoreError(f"{path}: {entry.filename} in it is encrypted, or compressed in another way than ours")


def _manifest(zipped: zipfile.ZipFile, path: Path) -> bytes:
    try:
        with zipped.open(MANIFEST) as entry:
            text = entry.read(MOST_OF_MANIFEST + 1)
    except KeyError:
        raise StoreError(
            f"{path} is not an archive of a study: it has no {MANIFEST}. 'hpo export STUDY --format archive' writes one"
        ) from None
    except _DAMAGE as error:
        raise StoreError(f"{path}: its {MANIFEST} is damaged: {error}. Copy or export it again") from error
    if len(text) > MOST_OF_MANIFEST:
        raise StoreError(f"{path}: its {MANIFEST} is larger than {mebibytes(MOST_OF_MANIFEST)}: it was changed")
    return text


def _check_against(manifest: Manifest, entries: list[zipfile.ZipInfo], path: Path) -> None:
    sizes = {entry.filename: entry.file_size for entry in entries if entry.filename != MANIFEST}
    named = {file.name: file for file in manifest.files}
    if surplus := sorted(sizes.keys() - named.keys()):
        raise StoreError(f"{path}: {surplus[0]} in it is not in its {MANIFEST}: it was added")
    if missing := sorted(named.keys() - sizes.keys()):
        raise StoreError(f"{path}: {in_a_line(missing[0])} of its {MANIFEST} is not in it: it was removed")
    for name, size in sizes.items():
        if size != named[name].size:
            raise StoreError(f"{path}: {name} in it has another size than {MANIFEST} says: it was changed")
