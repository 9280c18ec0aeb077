"""Where a report goes: into one file, written as a whole or not at all."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from hpo.errors import HpoError, SpecError, nearest
from hpo.report.reading import read_material
from hpo.report.report import report_of
from hpo.store import Store
from hpo.study.naming import LONGEST_NAME

HTML, MARKDOWN = "html", "md"
ENDINGS = {".html": HTML, ".htm": HTML, ".md": MARKDOWN, ".markdown": MARKDOWN}
_IN_NO_FILE_NAME = re.compile(r"[^\w .+-]")


def format_of(asked: str | None, path: str | Path | None) -> str:
    """`html` or `md`: as it is asked for, else by the file's name, else html.

    Raises:
        SpecError: it is neither, or the file's name says another.
    """
    if asked is not None and asked not in (HTML, MARKDOWN):
        raise SpecError(f"--format {asked}: should be {HTML} or {MARKDOWN}{nearest(asked, (HTML, MARKDOWN))}")
    ending = "" if path is None else Path(path).suffix.lower()
    if path is not None and ending not in ENDINGS and not Path(path).is_dir():
        raise SpecError(f"-o {path}: a report's name ends in one of {', '.join(ENDINGS)}")
    known = ENDINGS.get(ending)
    if asked is not None and known is not None and asked != known:
        raise SpecError(f"-o {path}: its name is that of a file in the format {known}, and --format says {asked}")
    return asked or known or HTML


def report_file(asked: str | Path | None, study: str, format: str) -> Path:
    """Where the report goes: as asked, else `STUDY-report.html` in the current folder.

    Raises:
        SpecError: no file can be written there.
    """
    name = _IN_NO_FILE_NAME.sub("-", study).encode()[:LONGEST_NAME].decode(errors="ignore")
    path = Path(f"{name}-report.{format}" if asked is None else asked)
    option = f"-o {path}"
    try:
        if "\0" in str(path):
            raise ValueError("its name holds a NUL")
        if path.is_dir():
            raise SpecError(f"{option}: is a folder: name a file in it")
        if path.exists() and not path.is_file():
            raise SpecError(f"{option}: is no file: it would be replaced by one")
        if not path.parent.is_dir():
            beside = [one.name for one in path.parent.parent.iterdir()] if path.parent.parent.is_dir() else []
            hint = nearest(path.parent.name, beside)
            raise SpecError(f"{option}: there is no folder {path.parent}{hint}")
    except (OSError, ValueError) as error:
        raise SpecError(f"{option}: cannot be a file: {error}") from error
    return path


def report_text(store: Store, study: str, format: str) -> str:
    """The report as one text.

    Raises:
        StoreError: there is no such study.
    """
    report = report_of(read_material(store, study))
    if format == MARKDOWN:
        from hpo.report.markdown import markdown_of

        return markdown_of(report)
    from hpo.report.page import page_of

    return page_of(report)


def write_whole(path: Path, text: str) -> None:
    """Write a file so that whoever reads it sees the old or the new text, and never a part.

    Raises:
        HpoError: it cannot be written.
    """
    target = path.resolve()  # a link goes on pointing there
    written = ""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=target.parent, prefix=f".{target.name[:50]}-", delete=False
        ) as file:
            written = file.name
            file.write(text)
            os.fchmod(file.fileno(), _mode(target))
        Path(written).replace(target)
    except BaseException as error:
        if written:
            Path(written).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise HpoError(f"{path}: cannot be written: {error.strerror or error}") from error


def _mode(path: Path) -> int:
    """The permissions of the file that is replaced, or those of any new file."""
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
