"""Every study file that is shipped works as it is: it is read, resolved against its classes, and trains two trials."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hpo.results import Study
from hpo.store import Store
from hpo.studyfile import read_study

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "studies").glob("**/*.yaml"))


def test_there_are_study_files_and_each_has_a_name_of_its_own() -> None:
    names = [read_study(file)[0].study for file in FILES]

    assert names
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_first_words_say_how_to_run_it(file: Path) -> None:
    assert f"hpo run {file.relative_to(ROOT)}" in file.read_text(encoding="utf-8").partition("\nstudy:")[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_two_trials_of_one_epoch_train(file: Path, tmp_path: Path) -> None:
    places = ["--project", str(ROOT), "--store", "hpo.db", "--artifacts", "art"]
    command = [sys.executable, "-m", "hpo", "run", str(file), "--set", "epochs=1", "--trials", "2", *places]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)

    assert done.returncode == 0, done.stdout + done.stderr
    with Store.open(str(tmp_path / "hpo.db")) as store:
        records = Study(store, read_study(file)[0].study).trials()
    assert [record.state for record in records] == ["complete", "complete"], [record.error for record in records]
    assert [record.epochs for record in records] == [1, 1]
