"""The waiting times of a user: for an answer, for the first training step, and between two trials.

    python benchmarks/startup.py [--runs 5] [--write]

Prints the table of benchmarks/README.md, with --write into it: medians, and the spread of the runs. Run it on an idle
machine.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import readme

ROOT = Path(__file__).resolve().parents[1]
STUDY = ROOT / "studies" / "digits_dnn.yaml"
ATTEMPTS = """
    SELECT trials.number, attempt.number, attempt.slot, attempt.started, attempt.ended
    FROM hpo_attempts attempt JOIN trials ON trials.trial_id = attempt.trial_id ORDER BY attempt.started
"""
FIRST_STEP = re.compile(r"trial (\d+): first step ([\d.]+) s after its claim")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    readme.add_options(parser)
    options = parser.parse_args()
    output, runs = readme.Output("startup", options), options.runs
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/thousand.db"
        fill(store, trials=1000)
        rows = [
            (
                "`import torch, pytorch_lightning`",
                repeat(runs, lambda: command("-c", "import torch, pytorch_lightning")),
            ),
            ("`hpo --help`", repeat(runs, lambda: command("-m", "hpo", "--help"))),
            (
                "`hpo best`, 1,000 trials",
                repeat(runs, lambda: command("-m", "hpo", "best", "thousand", "--store", store)),
            ),
        ]
        searches = [search(Path(folder) / f"run{number}") for number in range(runs)]
    rows.append(("`hpo run` to the first training step", [first for first, _, _ in searches]))
    rows.append(("claim to training step, from the second trial on", [s for _, claims, _ in searches for s in claims]))
    rows.append(("end of a trial to the next training step in its slot", [s for _, _, gaps in searches for s in gaps]))
    output.line("| | median s | least | most |\n|---|---|---|---|")
    for label, seconds in rows:
        output.line(f"| {label} | {statistics.median(seconds):.3f} | {min(seconds):.3f} | {max(seconds):.3f} |")
    output.write()


def repeat(runs: int, measure: Callable[[], float]) -> list[float]:
    measure()  # once to warm the file cache
    return [measure() for _ in range(runs)]


def command(*arguments: str) -> float:
    """Seconds that a Python command takes."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, cwd=ROOT)
    return time.perf_counter() - started


def search(folder: Path) -> tuple[float, list[float], list[float]]:
    """Seconds from `hpo run` to the first step; of each later trial, from its claim to its first step, and from the end
    of the previous trial in its slot to that step.
    """
    folder.mkdir()
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "hpo", "run", str(STUDY), "--project", str(ROOT), "--trials", "30", "--verbose"],
        cwd=folder,
        env={**os.environ, "HPO_STORE": f"sqlite:///{folder}/hpo.db", "HPO_ARTIFACTS": str(folder / "artifacts")},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    first, claims = 0.0, dict[int, float]()
    assert process.stderr is not None
    for line in process.stderr:
        if found := FIRST_STEP.search(line):
            if not first:
                first = time.perf_counter() - started
            claims.setdefault(int(found[1]), float(found[2]))
    assert process.wait() == 0
    gaps = []
    ended: dict[int, float] = {}  # by slot
    with closing(sqlite3.connect(folder / "hpo.db")) as store:
        for number, attempt, slot, start, end in store.execute(ATTEMPTS):
            if slot in ended and attempt == 1:
                gaps.append(start - ended[slot] + claims[number])
            ended[slot] = end
    return first, [seconds for number, seconds in claims.items() if number >= 2], gaps  # the first two fill the slots


def fill(url: str, *, trials: int, epochs: int = 10) -> None:
    """A store with one study of so many complete trials, written with a worker's functions."""
    from hpo.queue.claim import claim_trial
    from hpo.queue.leases import register_worker
    from hpo.queue.report import begin_trial, finish_trial, report_epoch
    from hpo.queue.studies import create_or_continue
    from hpo.space import Float, Parameter, SearchSpace
    from hpo.store import Store
    from hpo.study.resolved_study import ResolvedStudy
    from hpo.study.spec import StudySpec
    from hpo.study.states import OptunaState

    names: Sequence[str] = [f"x{index}" for index in range(8)]
    spec = StudySpec.model_validate(
        {
            "study": "thousand",
            "model": "models.dnn:DNN",
            "data": "models.data:Digits",
            "objective": {"metric": "score", "direction": "maximize"},
            "budget": {"trials": trials},
        }
    )
    space = SearchSpace(tuple(Parameter(name, Float(0, 1)) for name in names))
    distribution = json.dumps(
        {"name": "FloatDistribution", "attributes": {"step": None, "low": 0.0, "high": 1.0, "log": False}}
    )
    with Store.create(url) as store:
        study, _ = create_or_continue(store, ResolvedStudy(spec, space, {"model": {}, "data": {}}))
        worker = register_worker(store, host="benchmark", pid=1, slots=1)
        for number in range(trials):
            claim = claim_trial(store, study.study_id, worker_id=worker, slot=0, device="cpu")
            assert claim is not None
            point = {name: (number * (index + 1) % 997) / 997 for index, name in enumerate(names)}
            stored = {name: (value, distribution) for name, value in point.items()}
            value = sum(point.values())
            with store.write() as connection:
                begin_trial(connection, claim, params=stored, config={"params": point, "model": {}, "data": {}})
                for epoch in range(1, epochs + 1):
                    scaled = value * epoch / epochs
                    report_epoch(
                        connection,
                        claim,
                        epoch=epoch,
                        value=scaled,
                        metrics={"score": scaled},
                        seconds=epoch,
                        system_attributes={},
                    )
                finish_trial(
                    connection,
                    claim,
                    state=OptunaState.COMPLETE,
                    values=[value],
                    seconds=float(epochs),
                    best_epoch=epochs,
                )


if __name__ == "__main__":
    main()
