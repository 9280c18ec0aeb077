"""The commands of docs/managing-studies.md run as they are written, in order, and so does its Python."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "managing-studies.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The project folder, and what each command printed."""
    folder = tmp_path_factory.mktemp("managing")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    commands = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    assert len(commands) >= 12
    found = {}
    for command in ["hpo init .", *commands]:
        done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        found[command] = done.stdout
    return folder, found


def test_the_commands_do_what_the_page_says(answers: tuple[Path, dict[str, str]]) -> None:
    folder, printed = answers

    assert "trial 2 waits for a worker" in printed["hpo enqueue quickstart lr=3e-3 depth=2"]
    assert "trials 3, 4 wait for a worker" in printed["hpo enqueue quickstart --from points.csv"]
    assert "was renamed to digits-first" in printed["hpo rename quickstart digits-first"]
    assert "study digits-first deleted: 5 trials" in printed["hpo delete digits-first --yes"]
    assert "executor: " in printed["hpo logs quickstart 0"]
    assert printed["hpo logs quickstart 1 -f"]
    assert [path.name.rpartition("-20")[0] for path in (folder / "hpo-artifacts").iterdir()] == ["quickstart"]


def test_the_python_runs(answers: tuple[Path, dict[str, str]]) -> None:
    [script] = blocks("python")

    done = subprocess.run([sys.executable, "-c", script], cwd=answers[0], capture_output=True, text=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "study ended None"
