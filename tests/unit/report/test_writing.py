"""Where a report goes is checked before it is made, and a file is written as a whole or not at all."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from hpo.errors import HpoError, SpecError
from hpo.report.writing import format_of, report_file, write_whole


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "path", "format"),
    [
        (None, None, "html"),
        ("md", None, "md"),
        (None, "a.md", "md"),
        (None, "a.HTML", "html"),
        ("html", "a.htm", "html"),
        ("md", "a.markdown", "md"),
    ],
)
def test_the_format_is_as_asked_or_as_the_file_is_called(asked: str | None, path: str | None, format: str) -> None:
    assert format_of(asked, path) == format


@pytest.mark.parametrize(
    ("asked", "path", "message"),
    [
        ("htlm", None, "--format htlm: should be html or md, did you mean 'html'?"),
        (None, "report.pdf", "-o report.pdf: a report's name ends in one of .html, .htm, .md, .markdown"),
        ("md", "a.html", "-o a.html: its name is that of a file in the format html, and --format says md"),
    ],
)
def test_another_format_is_refused_in_words(asked: str | None, path: str | None, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        format_of(asked, path)

    assert str(caught.value) == message


def test_a_place_where_no_file_can_be_is_refused(here: Path) -> None:
    (here / "results").mkdir()
    (here / "x.html").mkdir()

    for path, message in (
        ("resulds/a.html", "-o resulds/a.html: there is no folder resulds, did you mean 'results'?"),
        ("x.html", "-o x.html: is a folder: name a file in it"),
        ("results", "-o results: is a folder: name a file in it"),
        ("a\0b.html", "-o a\0b.html: cannot be a file: "),
        (f"{'x' * 300}.html", f"-o {'x' * 300}.html: cannot be "),
    ):
        with pytest.raises(HpoError) as caught:
            write_whole(report_file(path, "study", format_of(None, path)), "text")
        assert str(caught.value).startswith(message)
    assert sorted(path.name for path in here.iterdir()) == ["results", "x.html"]


@pytest.mark.parametrize(
    ("study", "name"),
    [
        ("digits-cnn", "digits-cnn-report.html"),
        ("../../etc/x", "..-..-etc-x-report.html"),
        ("a\0\n/<b>", "a----b--report.html"),
        ("ä" * 300, f"{'ä' * 100}-report.html"),
    ],
)
def test_the_file_is_called_after_the_study_and_lies_here(study: str, name: str) -> None:
    assert str(report_file(None, study, "html")) == name


def test_a_file_is_replaced_as_a_whole_with_its_permissions(here: Path) -> None:
    file, link = here / "a.html", here / "link.html"
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)

    write_whole(link, "new")

    assert file.read_text() == "new"
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert sorted(path.name for path in here.iterdir()) == ["a.html", "link.html"]


def test_a_file_that_cannot_be_written_leaves_the_old_one(here: Path) -> None:
    with pytest.raises(HpoError, match=r"^/proc/a\.html: cannot be written: "):
        write_whole(Path("/proc/a.html"), "new")

    with pytest.raises(UnicodeEncodeError):
        write_whole(here / "a.html", "half of a pair: \ud800")
    assert [*here.iterdir()] == []
