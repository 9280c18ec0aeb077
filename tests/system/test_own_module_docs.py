"""The commands of docs/your-own-module.md run as they are written, in order, with the files that the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "your-own-module.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The project folder, and what each command printed."""
    folder = tmp_path_factory.mktemp("own")
    for block in [*blocks("yaml"), *blocks("python")]:
        if named := re.match(r"# (\S+\.(?:yaml|py))\n", block):
            (folder / named.group(1)).write_text(block, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    commands = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    assert len(commands) >= 9
    found = {}
    for command in commands:
        done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        found[command] = done.stdout
    return folder, found


def test_the_commands_do_what_the_page_says(answers: tuple[Path, dict[str, str]]) -> None:
    printed = answers[1]

    assert "trial 2 waits for a worker" in printed["hpo enqueue lists 'hidden=[16, 16]'"]
    assert re.search(r"\[8\]|\[16, 16\]", printed["hpo best lists"])
    assert re.search(r"optim.name +one of 'SGD', 'Adam' +SGD", printed["hpo space entries.yaml"])
    assert '{"class": "mynet:Net", "hidden": [8]}' in printed["hpo run objects.yaml"]
    assert "optim.momentum" in printed["hpo check conditions.yaml"]
    assert re.match(r"point,prediction,p_near,p_far\n0,(near|far),0\.", printed["hpo predict points new.csv --proba"])
    log = printed["hpo logs options 0"]
    assert "executor: lean" in log
    assert [line for line in log.splitlines() if line.startswith("epoch")] == ["epoch 0"]


def test_the_python_runs(answers: tuple[Path, dict[str, str]]) -> None:
    script = blocks("python")[-1]

    done = subprocess.run([sys.executable, "-c", script], cwd=answers[0], capture_output=True, text=True, timeout=300)

    assert done.returncode == 0, done.stderr
    config, loaded = done.stdout.splitlines()
    assert "'momentum': 0.5" in config
    assert loaded == "OptimConfig 0.5"
