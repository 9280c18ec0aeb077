"""The source distribution: the whole checkout, from which the package is built, installed and tested."""

from __future__ import annotations

import shutil
import sys
import tarfile
from pathlib import Path

import pytest
from projects.installed import install, run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    done = run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", folder, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    [built] = folder.glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def unpacked(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    with tarfile.open(archive) as file:
        # Debian 12's Python has no filters yet.
        file.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
        file.extractall(folder)
    [top] = folder.iterdir()
    return top


@pytest.fixture(scope="module")
def python(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment into which the archive was installed."""
    return install(archive, tmp_path_factory.mktemp("installed") / "venv") / "python"


@pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="this is no checkout of git")
def test_the_archive_has_every_file_of_the_checkout_and_no_other(archive: Path) -> None:
    listing = ["git", "-c", f"safe.directory={ROOT}", "ls-files"]
    tracked = {name for name in run(*listing, cwd=ROOT).stdout.split() if (ROOT / name).exists()}
    others = set(run(*listing, "--others", "--exclude-standard", cwd=ROOT).stdout.split())
    with tarfile.open(archive) as file:
        packed = {name.partition("/")[2] for name in file.getnames()} - {"PKG-INFO"}

    assert {"LICENSE", "README.md", "Makefile", ".ci/run", "tests/conftest.py", "docs/architecture.md"} <= packed
    assert tracked <= packed <= tracked | others


def test_the_archive_installs_with_its_command(python: Path, tmp_path: Path) -> None:
    place = run(python, "-c", "import hpo; print(hpo.__file__)", cwd=tmp_path)
    told = run(python.parent / "hpo", "--help", cwd=tmp_path)

    assert Path(place.stdout.strip()).is_relative_to(python.parents[1])
    assert told.returncode == 0, told.stderr


def test_its_tests_can_be_collected(python: Path, unpacked: Path) -> None:
    done = run(python, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", cwd=unpacked)

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert {"tests/unit", "tests/store", "tests/process", "tests/system", "tests/contracts"} <= {
        "/".join(line.split("/")[:2]) for line in done.stdout.splitlines()
    }


def test_a_sample_of_its_tests_passes(python: Path, unpacked: Path) -> None:
    sample = ["tests/unit/space", "tests/unit/test_dependencies.py", "tests/store/test_best.py"]

    done = run(python, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *sample, cwd=unpacked)

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert "passed" in done.stdout
