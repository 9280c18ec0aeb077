"""Which errors are the disk's, and not those of the code that met them."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from hpo.study.writable import check_writable, disk_error, error_in_words


def error_of(name: str, path: Path | None = None) -> OSError:
    code = getattr(errno, name)
    return OSError(code, f"strerror of {name}", *([str(path)] if path else []))


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EROFS", "EIO", "ESTALE", "EACCES", "EPERM"])
def test_an_error_of_a_name_in_the_trials_folder_is_the_disks(tmp_path: Path, name: str) -> None:
    error = error_of(name, tmp_path / "00000" / "best.ckpt")

    assert disk_error(error, [tmp_path]) is error


@pytest.mark.parametrize("name", ["ENOENT", "EISDIR", "EEXIST", "ENAMETOOLONG", "EINVAL"])
def test_a_wrong_name_in_the_trials_folder_is_the_codes_mistake(tmp_path: Path, name: str) -> None:
    assert disk_error(error_of(name, tmp_path / "own.json"), [tmp_path]) is None


@pytest.mark.parametrize("name", ["EROFS", "EIO", "EACCES"])
def test_an_error_of_a_name_elsewhere_is_not_the_trials_disks(tmp_path: Path, name: str) -> None:
    assert disk_error(error_of(name, Path("/data/images")), [tmp_path]) is None


def test_a_full_disk_is_to_blame_wherever_it_is(tmp_path: Path) -> None:
    error = error_of("ENOSPC", Path("/tmp/scratch"))

    assert disk_error(error, [tmp_path]) is error


def test_a_write_that_failed_without_a_name_is_the_disks(tmp_path: Path) -> None:
    error = error_of("EFBIG")

    assert disk_error(error, [tmp_path]) is error
    assert disk_error(error_of("EPERM"), [tmp_path]) is None


def test_the_cause_of_an_error_counts(tmp_path: Path) -> None:
    cause = error_of("EROFS", tmp_path / "x")
    try:
        try:
            raise cause
        except OSError as error:
            raise RuntimeError("file write failed") from error
    except RuntimeError as error:
        found = error

    assert disk_error(found, [tmp_path]) is cause


def test_any_error_is_the_disks_while_the_folder_cannot_be_written(tmp_path: Path) -> None:
    found = disk_error(RuntimeError("PytorchStreamWriter failed writing file"), [tmp_path / "removed"])

    assert isinstance(found, FileNotFoundError)
    assert disk_error(RuntimeError("a bug"), [tmp_path]) is None


def test_the_look_leaves_nothing_behind(tmp_path: Path) -> None:
    check_writable(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_an_error_is_told_with_its_file() -> None:
    assert error_in_words(error_of("EROFS", Path("/art/x"))) == "strerror of EROFS: /art/x"
    assert error_in_words(error_of("EFBIG")) == "strerror of EFBIG"
