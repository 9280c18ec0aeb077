"""The README's commands and its Python run as they are written, in order, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the commands were run: the project that `hpo init` wrote."""
    folder = tmp_path_factory.mktemp("readme")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    commands = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    assert len(commands) >= 10
    for command in commands:
        if command.startswith("cd "):
            folder = folder / command[3:]
            continue
        done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return folder


def test_the_commands_run_and_the_python_prints_the_best_trials(project: Path) -> None:
    [query] = [block for block in blocks("python") if "open_study" in block]
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", query], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    values = [float(line.split()[1]) for line in done.stdout.splitlines()]
    assert len(values) == 5
    assert values == sorted(values, reverse=True)
    assert values[0] >= 0.97


def test_the_study_file_that_is_shown_is_the_shipped_one_in_short(project: Path) -> None:
    shown = blocks("yaml")[0]
    shipped = (project / "studies" / "digits_dnn.yaml").read_text(encoding="utf-8")
    for line in shown.splitlines():
        key = line.split("#")[0].strip()
        assert key.rstrip(":") in shipped, key


def test_the_five_commands_on_the_first_page_are_among_those_that_run() -> None:
    first = [line.partition("  #")[0].split() for line in blocks("sh")[0].splitlines()]
    run = [line[2:].split() for block in blocks("console") for line in block.splitlines()]

    assert [words[1] for words in first] == ["run", "finalize", "report", "predict", "export"]
    assert [words for words in first if words not in run] == []


def test_make_has_the_two_commands_that_the_readme_names() -> None:
    assert "make demo" in blocks("sh")[1]
    assert "make test" in blocks("sh")[1]
    for target in ("demo", "test"):
        done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True)
        assert ("hpo run studies/digits_dnn.yaml" if target == "demo" else "pytest") in done.stdout


def test_every_verb_is_in_the_readme() -> None:
    from hpo.cli import app

    verbs = {
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback is not None
    }
    table = README[README.index("## The verbs") :]
    assert not [verb for verb in verbs if f"`{verb}`" not in table and f"hpo {verb}" not in table]
