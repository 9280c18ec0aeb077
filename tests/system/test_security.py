"""docs/security.md: what it says of stores, files and tests is so."""

from __future__ import annotations

import ast
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from projects.launch import Hpo
from sqlalchemy import select, update

from hpo.service.delete import belongings_of, delete_study
from hpo.store import Store
from hpo.store.tables import hpo_studies, hpo_trials, studies

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")

TRAP = """
import pathlib

pathlib.Path({trace!r}).write_text("it ran")


class Net:
    pass
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Hpo:
    """A study of two trials, with a checkpoint."""
    folder = tmp_path_factory.mktemp("searched")
    hpo = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    code, output = hpo.run("run", hpo.study("mine", budget={"trials": 2}))
    assert code == 0, output
    return hpo


@pytest.fixture
def trace(searched: Hpo) -> Path:
    """The file that a module writes when it is imported, which the store names as model, data and sampler."""
    trace = searched.folder / "it-ran"
    (searched.folder / "trap.py").write_text(TRAP.format(trace=str(trace)))
    with Store.open(searched.url) as store, store.write() as connection:
        for table, column in ((hpo_studies, hpo_studies.c.spec), (hpo_trials, hpo_trials.c.config)):
            for row in connection.execute(select(column).where(column.is_not(None))).all():
                named = re.sub(r"projects\.nets:\w+", "trap:Net", row[0])
                named = named.replace('"sampler": {"name": "random", "label": null', '"sampler": {"label": "trap:Net"')
                assert "trap:Net" in named
                connection.execute(update(table).where(column == row[0]).values({column.name: named}))
    return trace


def test_verbs_that_look_run_no_code_that_a_store_names(searched: Hpo, trace: Path) -> None:
    looking = [
        ["ls"],
        ["status", "mine"],
        ["trials", "mine", "--json"],
        ["best", "mine"],
        ["show", "mine", "0"],
        ["logs", "mine", "0"],
        ["doctor"],
        ["clean", "--dry-run"],
        ["db", "check"],
    ]

    codes = {" ".join(words): searched.run(*words, "--project", searched.folder)[0] for words in looking}
    frame = "import hpo; study = hpo.open_study('mine'); print(len(study.frame()), study.best(1)[0].value)"
    python = subprocess.run([sys.executable, "-c", frame], cwd=searched.folder, capture_output=True, text=True)

    assert not trace.exists()
    assert codes.pop("doctor") in (0, 1)  # it may have something to say of this machine
    assert set(codes.values()) == {0}, codes
    assert python.returncode == 0, python.stderr
    # and the trap is one: a worker, as the page says, imports what the store names
    searched.run("set", "mine", "trials=+1")
    searched.run("worker", "mine", "--until-idle", "--project", searched.folder)
    assert trace.exists()


def test_with_a_strict_umask_nobody_else_can_read_a_search(tmp_path: Path) -> None:
    [command] = re.findall(r"^```console\n\$ (.*)\n```", PAGE, flags=re.MULTILINE)
    hpo = Path(sys.executable).with_name("hpo")
    plain = command.partition("; ")[2].replace("--trials 2", "--trials 3")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
    environment["PATH"] = f"{hpo.parent}{os.pathsep}{environment['PATH']}"
    subprocess.run([str(hpo), "init", "."], cwd=tmp_path, env=environment, check=True, capture_output=True)

    def written(shell: str) -> dict[str, int]:
        done = subprocess.run(shell, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        paths = [tmp_path / "hpo.db", *(tmp_path / "hpo-artifacts").rglob("*")]
        return {str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in paths}

    strict = written(command)
    usual = written(f"umask 022; {plain}")

    assert len(strict) > 5
    assert not {path: mode for path, mode in strict.items() if mode & 0o077}
    new = {path: mode for path, mode in usual.items() if path not in strict}
    assert {mode for path, mode in new.items() if path.endswith("log.txt")} == {0o600}
    assert {mode for path, mode in new.items() if path.endswith("config.json")} == {0o644}


def test_a_study_whose_name_leads_elsewhere_has_no_folder_to_remove(tmp_path: Path) -> None:
    artifacts, precious = tmp_path / "art", tmp_path / "precious-20010909-014640"
    (precious / "00000").mkdir(parents=True)
    artifacts.mkdir()
    hpo = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    file = hpo.study("mine", budget={"trials": 1})
    assert hpo.run("submit", file)[0] == 0
    with Store.open(hpo.url) as store:
        with store.write() as connection:  # as somebody who can write to the store
            connection.execute(update(studies).values(study_name="../precious"))
            connection.execute(update(hpo_studies).values(created=1_000_000_000.0))

        belongings = belongings_of(store, "../precious", artifacts=artifacts)
        deleted = delete_study(store, "../precious", artifacts=artifacts)

    assert belongings.folders == ()
    assert (deleted.study, deleted.size) == ("../precious", 0)
    assert (precious / "00000").is_dir()


def test_every_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    missing = [(file, name) for file, name in named if name not in _functions(ROOT / file)]

    assert len(named) > 12
    assert not missing


def _functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
