"""What a trial's result depends on: found without being in the way, and compared in words."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from projects.synthetic import SPACE, make_spec

from hpo.study.devices import Slot
from hpo.study.resolved_study import ResolvedStudy
from hpo.worker.provenance import (
    StudyProvenance,
    code_digest,
    device_name,
    earlier_changes,
    provenance_changes,
    resumed_after,
    versions,
    with_changes,
)
from hpo.worker.work_tree import WorkTree

INPUTS = {"data iris.csv": "a" * 64, "code nets.py": "b" * 64, "code layers.py": "c" * 64}
RESOLVED = ResolvedStudy(make_spec(), SPACE, {"model": {}, "data": {}}, INPUTS)


def git(folder: Path, *arguments: str) -> str:
    named = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    return subprocess.run(
        ["git", *named, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A work tree with a commit, and a project in a folder of it."""
    project = tmp_path / "repository" / "project"
    project.mkdir(parents=True)
    (project / "nets.py").write_text("WIDTH = 1\n")
    (project / ".gitignore").write_text("ignored.py\n")
    git(project.parent, "init", "--quiet")
    git(project.parent, "add", ".")
    git(project.parent, "commit", "--quiet", "-m", "one")
    return project


def tree_of(folder: Path, **environment: str) -> WorkTree:
    tree = WorkTree(folder, {**os.environ, **environment})
    tree.wait()
    return tree


def provenance(folder: Path) -> dict[str, Any]:
    study = StudyProvenance(tree_of(folder), INPUTS, {"timm": "1.0", "sklearn": "0.1"})
    return study.of_trial(RESOLVED, seed=7, slot=Slot(0, (), 1, 2), executor="lean")


# ---- git


def test_the_commit_is_known_and_a_committed_tree_is_clean(repository: Path) -> None:
    (repository / "hpo.db").write_text("a store")
    (repository / "ignored.py").write_text("")

    tree = tree_of(repository)

    assert tree.commit == git(repository, "rev-parse", "HEAD")
    assert tree.is_dirty is False


@pytest.mark.parametrize("changed", ["nets.py", "new.py", "../outside.py"])
def test_a_changed_file_or_an_unknown_module_makes_it_dirty(repository: Path, changed: str) -> None:
    (repository.parent / "outside.py").write_text("")
    git(repository.parent, "add", ".")
    git(repository.parent, "commit", "--quiet", "-m", "two")
    (repository / changed).write_text("WIDTH = 2\n")

    assert tree_of(repository).is_dirty is True


def test_git_looks_at_the_projects_own_repository_and_runs_nothing(repository: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    git(repository, "config", "core.fsmonitor", f"touch {tmp_path}/ran; false")

    tree = tree_of(repository, GIT_DIR=str(other / ".git"), GIT_WORK_TREE=str(other))

    assert tree.commit == git(repository, "rev-parse", "HEAD")
    assert tree.is_dirty is False
    assert not (tmp_path / "ran").exists()


def test_without_git_without_a_work_tree_and_without_a_commit_nothing_is_known(
    repository: Path, tmp_path: Path
) -> None:
    plain, new = tmp_path / "plain", tmp_path / "new"
    for folder in (plain, new):
        folder.mkdir()
    git(new, "init", "--quiet")

    trees = [
        tree_of(repository, PATH=str(plain)),
        tree_of(plain, GIT_CEILING_DIRECTORIES=str(tmp_path)),
        tree_of(new),
        tree_of(tmp_path / "nowhere"),
    ]

    assert [(tree.commit, tree.is_dirty) for tree in trees] == [(None, None)] * 4


def test_a_git_that_does_not_answer_is_in_nobodys_way(repository: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    started = time.monotonic()

    tree = WorkTree(repository, {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}, seconds=1.0)
    took = time.monotonic() - started
    before = tree.commit, tree.is_dirty
    tree.wait()

    assert took < 0.5
    assert before == (tree.commit, tree.is_dirty) == (None, None)


# ---- the record


def test_a_provenance_names_all_that_a_result_depends_on(repository: Path) -> None:
    found = provenance(repository)

    assert found["data"] == {"data iris.csv": "a" * 64}
    assert found["code"] == code_digest(INPUTS)
    assert (found["seed"], found["threads"], found["ranks"], found["executor"]) == (7, 2, 1, "lean")
    assert found["commit"] == git(repository, "rev-parse", "HEAD")
    assert found["versions"] == versions() | {"timm": "1.0"}
    assert {"python", "torch", "pytorch-lightning", "optuna", "numpy", "hpo-service"} <= found["versions"].keys()
    assert found["device"] == device_name(Slot(0, (), 1, 1)) != ""
    assert device_name(Slot(0, ("0",), 1, 1, ("GPU-1",), "NVIDIA H200")) == "NVIDIA H200"
    assert len(json.dumps(found)) < 1500


def test_to_record_one_takes_less_than_a_millisecond(repository: Path) -> None:
    study = StudyProvenance(tree_of(repository), INPUTS)
    slot = Slot(0, (), 1, 1)
    text = json.dumps(study.of_trial(RESOLVED, seed=7, slot=slot, executor="lean"))  # finds what is found once
    times = []
    for _ in range(50):
        started = time.perf_counter()
        with_changes(study.of_trial(RESOLVED, seed=7, slot=slot, executor="lean"), text, attempt=2, from_epoch=3)
        times.append(time.perf_counter() - started)

    assert sorted(times)[25] < 1e-3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, []),
        ({"data": {"data iris.csv": "d" * 64}}, ["data iris.csv: other contents"]),
        ({"data": {}}, ["data iris.csv: no longer used"]),
        ({"code": "e" * 64}, ["code: other contents in the study's modules"]),
        ({"code": None}, []),
        ({"versions": {**versions(), "torch": "9.9"}}, [f"torch: 9.9, before {versions()['torch']}", "timm: not used"]),
        ({"threads": 8}, ["threads: 8, before 2"]),
        ({"device": "NVIDIA H200"}, [f"device: NVIDIA H200, before {device_name(Slot(0, (), 1, 1))}"]),
        ({"executor": "lean, because it was asked for"}, []),
        ({"executor": "lightning, because"}, ["executor: lightning, before lean"]),
        ({"dirty": True}, ["work tree: with changes that are in no commit now, as committed before"]),
        ({"dirty": None, "commit": None}, []),
    ],
    ids=str,
)
def test_a_change_is_told_in_words(repository: Path, change: dict[str, Any], words: list[str]) -> None:
    before = provenance(repository)

    found = provenance_changes(before | change, before)

    assert len(found) == len(words), found
    assert all(word in text for word, text in zip(words, found, strict=True)), found


def test_what_changed_between_attempts_is_kept(repository: Path) -> None:
    first = provenance(repository)
    texts = [with_changes(first, None, attempt=1, from_epoch=0)]
    for attempt, now in ((2, first | {"threads": 4}), (3, first | {"threads": 4}), (4, first | {"seed": 8})):
        texts.append(with_changes(now, texts[-1], attempt=attempt, from_epoch=10 * (attempt != 3)))

    changes = [earlier_changes(json.loads(text)) for text in texts]
    resumed = [resumed_after(json.loads(text)) for text in texts]

    second = "attempt 2: threads: 4, before 2"
    assert changes == [
        [],
        [second],
        [second],
        [second, "attempt 4: seed: 8, before 7", "attempt 4: threads: 2, before 4"],
    ]
    assert resumed == [(), (10,), (), (10,)]
