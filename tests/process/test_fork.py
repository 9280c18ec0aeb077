"""`hpo fork` and `hpo.fork`: a new study with the trials, the curves and the checkpoints of another one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from projects.launch import Hpo

import hpo as package
from hpo.errors import SpecError
from hpo.results.trial import TrialRecord
from hpo.study.states import TrialState

TESTS = Path(__file__).parents[1]
LRS = [0.002, 0.004, 0.02, 0.05]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Hpo:
    """With a study `old` of four trials at given rates."""
    folder = tmp_path_factory.mktemp("fork")
    hpo = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    points = [{"lr": lr} for lr in LRS]
    code, output = hpo.run("run", hpo.study("old", points=points, budget={"trials": 4}, keep={"checkpoints": 9}))
    assert code == 0, output
    return hpo


@pytest.fixture
def hpo(searched: Hpo, tmp_path: Path) -> Iterator[Hpo]:
    """A copy of it: the folder with the store and the artifacts."""
    folder = searched.folder
    shutil.copytree(folder, tmp_path / "before")
    yield searched
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "before", folder)


def weights(record: TrialRecord) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(record.load_model().parameters()).detach()


def test_a_fork_outlives_the_study_that_it_was_forked_from(hpo: Hpo) -> None:
    before = hpo.trials("old")
    kept = [weights(record) for record in before[1:]]

    code, output = hpo.run("fork", "old", "new", "--set", "space.lr.low=0.003", "--set", "budget.trials=5")

    assert code == 0, output
    assert output.splitlines() == [
        "study new was forked from old: 3 of 4 trials are taken over, with 3 checkpoints",
        "  1 trial left out (0): 'lr': 0.002 lies outside 0.003 to 0.1, log",
        "its budget is 5 trials, of which 3 have ended: 'hpo worker new' trains the others",
    ]
    assert hpo.trials("old") == before
    code, output = hpo.run("delete", "old", "--yes")
    assert code == 0, output
    after = hpo.trials("new")
    assert [record.params["lr"] for record in after] == LRS[1:]
    assert [(one.value, one.curve, one.checkpoint_sha256) for one in after] == [
        (one.value, one.curve, one.checkpoint_sha256) for one in before[1:]
    ]
    assert all(torch.equal(mine, weights(record)) for mine, record in zip(kept, after, strict=True))
    code, output = hpo.run("worker", "new", "--until-idle")
    assert code == 0, output
    code, output = hpo.run("logs", "new", "0")
    assert code == 0, output
    assert [record.state for record in hpo.trials("new")] == [TrialState.COMPLETE] * 5
    rates = [record.params["lr"] for record in hpo.trials("new")]
    assert len({*rates}) == 5
    assert min(rates) >= 0.003


def test_other_epochs_keep_the_curves_up_to_there(hpo: Hpo) -> None:
    for name, epochs in (("short", 1), ("long", 5)):
        code, output = hpo.run("fork", "old", name, "--set", f"epochs={epochs}")
        assert code == 0, output

    olds, shorts, longs = hpo.trials("old"), hpo.trials("short"), hpo.trials("long")

    for old, short, long in zip(olds, shorts, longs, strict=True):
        assert (short.state, short.curve, short.value) == (
            TrialState.COMPLETE,
            old.curve[:1],
            old.curve[0][1]["val_loss"],
        )
        assert (short.checkpoint is not None) == (old.best_epoch == 1)
        assert (long.state, long.curve, long.cause) == (
            TrialState.PRUNED,
            old.curve,
            "pruned: forked after 2 of 5 epochs",
        )
        assert long.checkpoint is not None


def test_a_fork_may_be_forked_from_python_with_points_of_its_own(hpo: Hpo) -> None:
    changes = {"space.lr.high": 0.03, "points": [{"lr": 0.01}], "budget.trials": 4}

    study = package.fork("old", "new", changes, store=hpo.url, project=TESTS, artifacts=hpo.folder / "art")

    assert [record.state for record in study.trials()] == [TrialState.COMPLETE] * 3 + [TrialState.WAITING]
    with pytest.raises(
        SpecError, match=r"changes: space\.lr\.hihg: space\.lr\.hihg: 'lr' of projects\.nets:Line has no"
    ):
        package.fork("old", "other", {"space.lr.hihg": 0.03}, store=hpo.url, project=TESTS)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("old", "new", "--set", "objective.metric=val_accuracy"), "objective: a fork keeps the metric"),
        (("old", "new", "--set", "model=projects.nets:Telling"), "model: a fork keeps model"),
        (("old", "new", "--set", "sampler=grid"), "sampler: grid gives each trial the point of its number"),
        (("old", "new", "--set", "repeats=2"), "repeats: a fork keeps repeats"),
        (("old", "new", "--set", "steps=9", "--set", "epochs=null"), "steps: study 'old' counts in epochs"),
        (("old", "new", "--set", "space.lr=[0.5, 0.6]"), "no trial of study 'old' fits: nothing was forked"),
        (("old", "new", "--set", "space.rate=3"), "space.rate: 'rate' is not searched by"),
        (("old", "old"), "the store has a study 'old' already: choose another name"),
        (("odl", "new"), "the store has no study 'odl', did you mean 'old'?"),
        (("old", "a/b"), "cannot be the name of a study"),
    ],
)
def test_a_fork_that_cannot_be_is_refused(searched: Hpo, arguments: tuple[str, ...], reason: str) -> None:
    code, output = searched.run("fork", *arguments)

    assert code == 2
    assert reason in output
    assert "Traceback" not in output
    assert [path.name[:4] for path in (searched.folder / "art").iterdir()] == ["old-"]


KILLED = """
import os, signal, sys
from hpo.service import fork
entered = fork.insert_fork

def kill(*arguments, **keywords):
    entered(*arguments, **keywords)
    os.kill(os.getpid(), signal.SIGKILL)

fork.insert_fork = kill
import hpo
hpo.fork("old", "new", store=sys.argv[1], artifacts=sys.argv[2], project=sys.argv[3])
"""


def test_a_fork_that_is_killed_leaves_no_study_and_clean_removes_its_files(hpo: Hpo) -> None:
    arguments = [sys.executable, "-c", KILLED, hpo.url, str(hpo.folder / "art"), str(TESTS)]

    done = subprocess.run(arguments, env=os.environ, timeout=120, check=False)

    assert done.returncode == -9
    assert len(list((hpo.folder / "art").iterdir())) == 2
    code, output = hpo.run("clean", "--yes")
    assert code == 0, output
    assert [path.name[:4] for path in (hpo.folder / "art").iterdir()] == ["old-"]
    code, output = hpo.run("fork", "old", "new")
    assert code == 0, output
    assert len(hpo.trials("new")) == 4
