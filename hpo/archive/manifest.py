"""The manifest of an archive: what wrote it, what it holds, and the size and SHA-256 of each of its files."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hpo.errors import StoreError
from hpo.printable import in_a_line
from hpo.store.schema import OPTUNA_REVISION, REVISION
from hpo.study.job import BEST_CHECKPOINT, CONFIG, LOG, PREPROCESSING, RESUME_CHECKPOINTS

FORMAT, FORMAT_VERSION = "hpo-archive", 1
MANIFEST = "manifest.json"
SUFFIX = ".hpo-archive.zip"

# Of a trial's folder; the checkpoints of a module's own callbacks may be pickled objects, and are in no archive.
BESIDE_CHECKPOINT = (CONFIG, PREPROCESSING, LOG)
_OF_TRIALS = "|".join(re.escape(name) for name in (BEST_CHECKPOINT, *RESUME_CHECKPOINTS, *BESIDE_CHECKPOINT))
_NAMES = re.compile(
    rf"tables/[a-z][a-z_]{{0,62}}\.jsonl|files/[0-9]{{1,6}}/[0-9]{{5,9}}/(training-[0-9]{{1,3}}/)?({_OF_TRIALS})",
    re.ASCII,
)


@dataclass(frozen=True)
class ArchivedFile:
    """A file of an archive.

    Attributes:
        size: in bytes, as it is before it is compressed.
        sha256: of that, in hexadecimal.
    """

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What an archive says of itself.

    Attributes:
        studies: names of the study and of those that train its trials again.
        rows: by table.
        created: UTC, by the clock of the machine that wrote it.
        versions: of Python and of the packages there; those of each trial are in its provenance.
        schema, optuna_schema: revisions of the store that it was read from.
    """

    study: str
    studies: tuple[str, ...]
    rows: Mapping[str, int]
    files: tuple[ArchivedFile, ...]
    created: str
    versions: Mapping[str, str]
    schema: str = REVISION
    optuna_schema: str = OPTUNA_REVISION
    format: str = field(default=FORMAT, kw_only=True)
    version: int = field(default=FORMAT_VERSION, kw_only=True)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @property
    def size(self) -> int:
        """Of all files, in bytes."""
        return sum(file.size for file in self.files)


def is_best_of_trial(name: str) -> bool:
    """Whether it is a trial's checkpoint: further folds and repeats have theirs in folders below it."""
    return name.startswith("files/") and name.count("/") == 3 and name.endswith(f"/{BEST_CHECKPOINT}")


def manifest_name(study: int, folder: str, file: str) -> str:
    """The name, in an archive, of a file of a trial.

    Args:
        study: its number in the archive.
        folder: of the trial.
    """
    return f"files/{study}/{folder}/{file}"


def table_name(table: str) -> str:
    """The name, in an archive, of the rows of a table."""
    return f"tables/{table}.jsonl"


def read_manifest(text: bytes, archive: object) -> Manifest:
    """The manifest of an archive that this release can read.

    Raises:
        StoreError: it is not one, another release wrote it, or it names a file that no archive of ours has.
    """
    plain = _json(text, archive)
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise StoreError(f"{archive} is not an archive of a study: 'hpo export STUDY --format archive' writes one")
    _check_releases(plain, archive)
    try:
        files = tuple(ArchivedFile(**found) for found in plain["files"])
        manifest = Manifest(**{**plain, "files": files, "studies": tuple(plain["studies"])})
    except (TypeError, LookupError) as error:
        raise StoreError(f"{archive}: its {MANIFEST} lacks something, or has what none has: {error}") from None
    if not _is_well_typed(manifest):
        raise StoreError(f"{archive}: its {MANIFEST} has a value of the wrong kind: it was changed")
    check_names([file.name for file in files], archive)
    return manifest


def check_names(names: Sequence[str], archive: object) -> None:
    """Check the names of files in an archive, which are to become paths.

    Raises:
        StoreError: one leads out of its folder, is not one of ours, or is there twice.
    """
    for name in names:
        shown = in_a_line(name)
        if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in re.split(r"[/\\]", name):
            raise StoreError(
                f"{archive}: the file {shown} in it leaves the folder of the archive: nothing was imported"
            )
        if name != MANIFEST and not _NAMES.fullmatch(name):
            raise StoreError(f"{archive}: the file {shown} in it is none that an archive of a study has")
    for name, count in Counter(name.casefold() for name in names).items():
        if count > 1:
            raise StoreError(f"{archive}: the file {name} is in it twice")


def _json(text: bytes, archive: object) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{archive}: its {MANIFEST} is damaged: {error}") from None


def _check_releases(plain: Mapping[str, Any], archive: object) -> None:
    version, schema, optuna = (plain.get(key) for key in ("version", "schema", "optuna_schema"))
    if isinstance(version, bool) or not isinstance(version, int) or not isinstance(schema, str):
        raise StoreError(f"{archive}: its {MANIFEST} does not say which release wrote it")
    if version > FORMAT_VERSION or schema > REVISION:
        raise StoreError(
            f"{archive} was written by a newer hpo-service (format {version}, schema {in_a_line(schema)}; this one has "
            f"{FORMAT_VERSION} and {REVISION}): update this one with 'pip install -U hpo-service'"
        )
    if version < FORMAT_VERSION or schema < REVISION:
        raise StoreError(
            f"{archive} was written by an older hpo-service (format {version}, schema {in_a_line(schema)}; this one "
            f"has {FORMAT_VERSION} and {REVISION}): upgrade the store that it came from with 'hpo db upgrade', and "
            "export the study again"
        )
    if optuna != OPTUNA_REVISION:
        raise StoreError(
            f"{archive} was written with another Optuna (schema {in_a_line(str(optuna))}, here {OPTUNA_REVISION}): "
            "export the study again with the release that is installed here"
        )


def _is_well_typed(manifest: Manifest) -> bool:
    texts = [manifest.study, *manifest.studies, manifest.created]
    texts += [text for file in manifest.files for text in (file.name, file.sha256)]
    if not (isinstance(manifest.rows, dict) and isinstance(manifest.versions, dict)):
        return False
    numbers = [*(file.size for file in manifest.files), *manifest.rows.values()]
    is_number = (isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers)
    return all(isinstance(text, str) for text in texts) and all(is_number)
