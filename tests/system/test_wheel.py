"""The wheel: the engine and its templates, without a top-level `models`; it works in any folder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
import trove_classifiers
from projects.installed import install, run

import hpo

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    [built] = folder.glob("*.whl")
    return built


def metadata(wheel: Path) -> Message:
    """The headers for package indexes, and the page that they show as the payload."""
    archive = zipfile.ZipFile(wheel)
    [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    return message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs' folder of an environment into which the wheel was installed."""
    return install(wheel, tmp_path_factory.mktemp("installed") / "venv")


@pytest.fixture(scope="module")
def project(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `hpo init` of the installed wheel wrote."""
    folder = tmp_path_factory.mktemp("user")
    done = run(installed / "hpo", "init", "proj", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "cd proj\n  hpo run studies/digits_dnn.yaml" in done.stdout
    return folder / "proj"


def test_the_wheel_contains_the_engine_its_types_its_templates_and_its_migrations(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    for name in (
        "hpo/py.typed",
        "hpo/templates/models/__init__.py",
        "hpo/templates/models/dnn.py",
        "hpo/templates/studies/digits_dnn.yaml",
        "hpo/store/migrations/env.py",
        "hpo/store/migrations/script.py.mako",
        "hpo/store/migrations/versions/r0001_initial.py",
    ):
        assert name in names
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".db"))]


def test_the_wheel_has_no_other_package(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}

    assert tops == {"hpo", next(top for top in tops if top.endswith(".dist-info"))}


def test_the_wheel_says_whose_it_is_and_has_the_text_of_its_licence(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    [licence] = [name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE")]
    told = metadata(wheel)

    assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert (told["License-Expression"], told["License-File"]) == ("Apache-2.0", "LICENSE")
    assert told["Author"] == "The hpo-service authors"
    assert told["Version"] == hpo.__version__


def test_its_classifiers_are_those_of_package_indexes(wheel: Path) -> None:
    told = metadata(wheel).get_all("Classifier", [])

    assert "Typing :: Typed" in told
    assert set(told) <= trove_classifiers.classifiers
    assert not [
        classifier for classifier in told if classifier.startswith("License ::")
    ]  # refused beside an expression


def test_what_a_package_index_shows_has_no_link_that_leads_nowhere(wheel: Path) -> None:
    shown = str(metadata(wheel).get_payload())
    targets = re.findall(r"\]\(([^)]*)\)", shown)

    assert not [target for target in targets if not target.startswith("https://")]
    assert "`docs/data.md`: how should my data be written?" in shown
    assert "benchmarks (`benchmarks/README.md`)" in shown
    assert shown.rstrip().endswith("The files that this page names are in the source distribution.")


def test_the_installed_program_tells_the_version(installed: Path, tmp_path: Path) -> None:
    told = run(installed / "hpo", "--version", cwd=tmp_path)

    assert (told.returncode, told.stdout, told.stderr) == (0, f"hpo-service {hpo.__version__}\n", "")


def test_every_module_of_the_checkout_is_in_the_wheel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "hpo").rglob("*.py")}
    templates = {
        f"hpo/templates/{path.relative_to(ROOT)}"
        for folder, pattern in (("models", "*.py"), ("studies", "*.*"))
        for path in (ROOT / folder).rglob(pattern)
    }

    assert ours | templates <= names


def test_the_installed_package_is_the_wheels_and_the_checkout_is_out_of_sight(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "python", "-c", "import hpo; print(hpo.__file__); import models", cwd=tmp_path)

    assert Path(done.stdout.strip()).is_relative_to(installed.parent)
    assert "No module named 'models'" in done.stderr


def test_a_new_project_runs_its_first_study_from_anywhere(installed: Path, project: Path) -> None:
    study = ["studies/digits_dnn.yaml", "--trials", "2", "--set", "epochs=1"]

    ran = run(installed / "hpo", "run", *study, cwd=project)
    best = run(installed / "hpo", "best", "digits-dnn", "--json", cwd=project)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert best.returncode == 0, best.stderr
    records = json.loads(best.stdout)
    assert [record["state"] for record in records] == ["complete", "complete"]
    assert Path(records[0]["checkpoint"]).is_relative_to(project / "hpo-artifacts")
    assert {path.name for path in project.iterdir()} == {"models", "studies", "hpo.db", "hpo-artifacts"}


def test_a_folder_that_is_not_empty_is_not_written_into(installed: Path, project: Path) -> None:
    before = sorted(project.rglob("*"))

    done = run(installed / "hpo", "init", "proj", cwd=project.parent)

    assert done.returncode == 2
    assert done.stderr == "error: proj is there already and not empty: name a new folder\n"
    assert sorted(project.rglob("*")) == before


def test_an_empty_folder_is_filled(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "hpo", "init", ".", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models", "studies"]
