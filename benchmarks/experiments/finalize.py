"""`hpo finalize` of a shipped study, killed with SIGKILL at a random moment and called again: the same numbers?

The study is searched once. Each round starts from a copy of that search in the same place, kills the command and all
processes below it, and calls it again; an undisturbed call says which numbers are the right ones.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from experiments.table import Row, Table
from hpo.results.study import Study
from hpo.store import Store
from hpo.study.study_file import read_study

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Finalized:
    """A call that has reached its end.

    Attributes:
        found: what it printed as JSON.
        trials, complete, attempts: of its child study.
    """

    found: dict[str, Any]
    trials: int
    complete: int
    attempts: int


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--study", default="digits_cnn", help="a file of studies/ [default: digits_cnn]")
    parser.add_argument("--trials", type=int, help="of the search [default: the file's]")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--reruns", type=int, default=5, help="seeds of each of the best three trials [default: 5]")
    parser.add_argument("--seed", type=int, default=0)


def measure(options: argparse.Namespace) -> Table:
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="hpo-finalize-") as name:
        project, kept = Path(name) / "project", Path(name) / "searched"
        project.mkdir()
        for part in ("models", "studies"):
            shutil.copytree(ROOT / part, project / part, ignore=shutil.ignore_patterns("__pycache__"))
        trials = [] if options.trials is None else ["--trials", str(options.trials)]
        _wait(_start(project, "run", f"studies/{options.study}.yaml", *trials))
        project.rename(kept)
        study = read_study(kept / f"studies/{options.study}.yaml")[0].study
        started = time.monotonic()
        undisturbed = _play(kept, project, study, options.reruns, None)
        seconds = time.monotonic() - started
        rows = [_row("never", undisturbed, undisturbed)]
        for _ in range(options.rounds):
            moment = draw.uniform(0.1, 0.9) * seconds
            found = _play(kept, project, study, options.reruns, moment)
            rows.append(_row(f"{moment / seconds:.0%} of its time", found, undisturbed))
            print(rows[-1], file=sys.stderr, flush=True)
    header = ("killed after", "trials", "of them complete", "attempts more than trials", "the numbers of the end")
    return Table(header, rows)


def _row(killed: str, found: Finalized, undisturbed: Finalized) -> Row:
    is_same = found.found == undisturbed.found
    cells = (
        killed, str(found.trials), str(found.complete), str(found.attempts - found.trials),
        "the same" if is_same else "others",
    )  # fmt: skip
    wrong = {"other numbers": not is_same, "another number of trials": found.trials != undisturbed.trials}
    return Row(cells, tuple(words for words, is_wrong in wrong.items() if is_wrong))


def _play(kept: Path, project: Path, study: str, seeds: int, kill_after: float | None) -> Finalized:
    """Finalize a copy of the search; where a moment is given, after a call that is killed then, in seconds."""
    shutil.rmtree(project, ignore_errors=True)
    shutil.copytree(kept, project)
    command = ("finalize", study, "--test", "--seeds", str(seeds), "--json")
    if kill_after is not None:
        first = _start(project, *command)
        time.sleep(kill_after)
        whole = psutil.Process(first.pid)
        for process in [*whole.children(recursive=True), whole]:
            process.kill()
        first.communicate()
    found = json.loads(_wait(_start(project, *command)))
    with Store.open(f"sqlite:///{project}/hpo.db") as store:
        records = Study(store, f"{study}.final").trials()
    return Finalized(
        found,
        trials=len(records),
        complete=sum(record.state == "complete" for record in records),
        attempts=sum(record.attempts for record in records),
    )


def _start(project: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hpo", *arguments]
    return subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _wait(process: subprocess.Popen[str]) -> str:
    """The standard output of a command that succeeds."""
    output, errors = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"it exited with {process.returncode}: {output}{errors}")
    return output
