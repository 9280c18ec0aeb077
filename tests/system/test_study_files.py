"""Every shipped study file works unchanged: it is read, resolved against its classes, and trains two trials."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from system_packages import needs_of_file

from hpo.ipc.fork_server import ForkServer
from hpo.results.study import Study
from hpo.results.trial import TrialRecord
from hpo.service.assembly import Workspace, begin
from hpo.store import Store
from hpo.study.study_file import read_study

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "studies").glob("**/*.yaml"))
LESS = {"fashion-mnist-cnn": ["data.train_samples=500"]}  # of what would take a minute an epoch
FILE_OF = {read_study(file)[0].study: file for file in FILES}


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory, server: ForkServer) -> Callable[[Path], list[TrialRecord]]:
    """Trains two trials of one epoch, as `hpo run` does, after the study whose weights they start from.

    All studies share a store.
    """
    folder = tmp_path_factory.mktemp("studies")

    @cache
    def train_once(file: Path) -> list[TrialRecord]:
        for earlier in re.findall(r"trial:([\w-]+)/", file.read_text(encoding="utf-8")):
            train_once(FILE_OF[earlier])
        name = read_study(file)[0].study
        spec, source = read_study(file, changes=["epochs=1", "budget.trials=2", *LESS.get(name, [])])
        with Store.create(f"sqlite:///{folder}/hpo.db") as store:
            search = begin(Workspace(server, ROOT, store, folder), spec, source)
            is_shared = search.run.server is not server
            assert is_shared, "importing its modules starts threads, so that trials cannot share them"
            search.worker.run_until_done()
            return Study(store, name).trials()

    return train_once


def test_there_are_study_files_and_each_has_a_name_of_its_own() -> None:
    assert FILES
    assert len(FILE_OF) == len(FILES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_first_lines_show_how_to_run_it(file: Path) -> None:
    assert f"hpo run {file.relative_to(ROOT)}" in file.read_text(encoding="utf-8").partition("\nstudy:")[0]


@pytest.mark.parametrize("file", [pytest.param(file, marks=needs_of_file(file), id=file.stem) for file in FILES])
def test_two_trials_of_one_epoch_train(file: Path, train: Callable[[Path], list[TrialRecord]]) -> None:
    records = train(file)

    assert [record.state for record in records] == ["complete", "complete"], [record.error for record in records]
    assert [record.epochs for record in records] == [1, 1]
