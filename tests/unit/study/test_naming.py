"""Names of studies whose folders would be too long."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.errors import SpecError
from hpo.study.naming import check_study_name, study_folder
from hpo.study.study_file import Source

CREATED = 1.7e9


def study_called(name: str) -> None:
    Source.of_mapping({"study": name, "model": "m:M", "data": "d:D", "objective": "val_loss"}, call="hpo.run").study()


def test_the_longest_name_of_two_byte_letters_has_a_folder(tmp_path: Path) -> None:
    name = "ä" * 119

    check_study_name(name)
    study_called(name)

    (tmp_path / study_folder(name, CREATED)).mkdir()


@pytest.mark.parametrize("name", ["ä" * 120, "ä" * 200, "漢" * 100, "𝔞" * 60])
def test_a_name_whose_folder_would_be_too_long_is_refused_in_words(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match="File name too long"):
        (tmp_path / study_folder(name, CREATED)).mkdir()

    with pytest.raises(SpecError, match=f"is too long: it takes {len(name.encode())} bytes, and .* room for 239"):
        check_study_name(name)
    with pytest.raises(SpecError, match=f"study: the name is too long: it takes {len(name.encode())} bytes"):
        study_called(name)


def test_two_hundred_ascii_letters_are_not_too_long() -> None:
    check_study_name("a" * 200)
    study_called("a" * 200)
