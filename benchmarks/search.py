"""The same search by each tool, one after the other: its cost and its result.

    python benchmarks/search.py [fashion | tabular] [--seeds 0 1 2 3 4] [--only hpo optuna-2] [--write]

    fashion   24 trials of at most 6 epochs: a perceptron or a small CNN on 10,000 images of Fashion-MNIST
    tabular   200 trials of at most 20 epochs: a perceptron on the 569 rows of scikit-learn's breast cancer

The networks, the data, the ranges, the number of trials and of epochs are the same for all:

    optuna-1    Optuna's example for PyTorch Lightning: TPE, MedianPruner, its Lightning callback, SQLite; one process
    optuna-2    the same as two processes of one thread each, and half of the trials each
    ray         Ray Tune's tutorial for PyTorch Lightning: OptunaSearch, ASHA, one core per trial, two at once
    ray-reuse   the same with reuse_actors
    hpo         `hpo run` with the study file benchmarks/experiments/contest/*.yaml: TPE, ASHA, two slots

Needs `pip install '.[contest]'`. Prints the table of benchmarks/README.md, with --write into it: a row per run, the
medians, and for each seed that two ways share the ratio of their wall times and the difference of their results. A
search that fails is reported, and the others continue. Memory is the proportional set size of all processes together:
shared pages count once.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import readme

ROOT = Path(__file__).resolve().parents[1]
CONTEST = Path(__file__).with_name("experiments") / "contest"
WAYS = ("optuna-1", "optuna-2", "ray", "ray-reuse", "hpo")
TRIALS = {"fashion": 24, "tabular": 200}
EPOCHS = {"fashion": 6, "tabular": 20}
REACHED = {"fashion": (0.84, 0.86), "tabular": (0.95, 0.97)}
PINNED = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
GIB = 2**30
POLLS_PER_MEMORY = 10  # the kernel counts all pages of a process for it, which delays the process


@dataclass(frozen=True)
class Result:
    """The measurements of one search.

    Attributes:
        seconds: from the start of its processes to the end of the last one.
        processor: seconds, of all processes.
        epochs: trained, of all trials.
        best: accuracy on the validation part after any epoch.
        until: seconds until each of REACHED; None where it was not.
        first: seconds until the first training step.
        memory: bytes, at most.
    """

    seconds: float
    processor: float
    epochs: int
    best: float
    until: tuple[float | None, ...]
    first: float
    memory: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", nargs="?", choices=TRIALS, default="fashion")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--once", nargs="+", choices=WAYS, default=[], help="with the first seed only")
    parser.add_argument("--section", help="of benchmarks/README.md, for --write; search-PROTOCOL if it is not given")
    readme.add_options(parser)
    options = parser.parse_args()
    output = readme.Output(options.section or f"search-{options.protocol}", options)
    low, high = REACHED[options.protocol]
    limit = TRIALS[options.protocol] * EPOCHS[options.protocol]
    output.line(
        f"| | seed | wall s | CPU s | epochs of {limit} | best accuracy | s until {low} / {high} | first step after s "
        "| peak memory GiB |\n|---|---|---|---|---|---|---|---|---|"
    )
    found: dict[str, dict[int, Result]] = {way: {} for way in options.only}  # by seed
    failures = 0
    for seed in options.seeds:
        for way in options.only:  # in turns, so that a slow hour affects all
            if way in options.once and seed != options.seeds[0]:
                continue
            try:
                found[way][seed] = search(way, options.protocol, seed)
            except SearchError as error:  # the results of the others have taken hours, and are kept
                failures += 1
                print(error, file=sys.stderr)
                output.line(f"| {way} | {seed} | failed | | | | | | |")
            else:
                output.line(f"| {way} | {seed} | {row(found[way][seed])} |")
    for way, results in found.items():
        if results and way not in options.once:
            output.line(f"| **{way}** | median | {row(median(list(results.values())))} |")
    output.line()
    for line in compared(found):
        output.line(line)
    output.write()
    sys.exit(failures > 0)


class SearchError(Exception):
    """A search ended with an error; the message has its output."""


def search(way: str, protocol: str, seed: int) -> Result:
    """Search once, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="hpo-contest-", ignore_cleanup_errors=True) as folder:
        return search_in(Path(folder), way, protocol, seed)


def search_in(folder: Path, way: str, protocol: str, seed: int) -> Result:
    """Search once, with the files of the search in this folder.

    Raises:
        SearchError: it failed.
    """
    started, before = time.time(), time.perf_counter()
    with (folder / "log").open("w") as log:
        processes = [
            subprocess.Popen(
                command,
                cwd=folder,
                env=environment(folder / "events") | (PINNED if way == "optuna-2" else {}),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            for command in commands(way, protocol, seed)
        ]
        processor, memory = watch(processes)
    seconds = time.perf_counter() - before
    if any(process.returncode for process in processes):
        printed = (folder / "log").read_text()
        # From the traceback on, since the other of two processes may print after it.
        raise SearchError(f"{way}, seed {seed}, failed:\n{printed[max(printed.find('Traceback'), 0) :][:4000]}")
    events = [json.loads(line) for line in (folder / "events").read_text().splitlines()]
    epochs = [(event["at"] - started, event["accuracy"]) for event in events if event["event"] == "epoch"]
    until = tuple(
        min((at for at, accuracy in epochs if accuracy >= wanted), default=None) for wanted in REACHED[protocol]
    )
    first = min(event["at"] for event in events) - started
    return Result(seconds, processor, len(epochs), max(value for _, value in epochs), until, first, memory)


def environment(events: Path) -> dict[str, str]:
    """The environment of a process that trains the contest's networks and records their events in a file."""
    paths = [str(ROOT), str(CONTEST.parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"CONTEST_EVENTS": str(events), "PYTHONPATH": os.pathsep.join(paths)}


def commands(way: str, protocol: str, seed: int) -> list[list[str]]:
    """The commands of a way, which run at the same time."""
    trials = TRIALS[protocol]
    name, _, variant = way.partition("-")
    if name == "optuna":
        count = int(variant)
        script = [sys.executable, str(CONTEST / "optuna_way.py"), protocol]
        return [[*script, str(seed + 1000 * part), str(trials // count), str(part)] for part in range(count)]
    if name == "ray":
        return [[sys.executable, str(CONTEST / "ray_way.py"), protocol, str(seed), str(trials), variant or "new"]]
    study = [str(CONTEST / f"{protocol}.yaml"), "--set", f"seed={seed}"]
    places = ["--project", str(ROOT), "--store", "hpo.db", "--artifacts", "hpo-artifacts"]  # in this search's folder
    return [[sys.executable, "-m", "hpo", "run", *study, *places]]


def watch(processes: Sequence[subprocess.Popen[bytes]]) -> tuple[float, int]:
    """Wait for the end of all; (processor seconds, peak memory) of them and their descendants."""
    roots = [psutil.Process(process.pid) for process in processes]
    seconds: dict[psutil.Process, float] = {}
    memory = polls = 0
    while any([process.poll() is None for process in processes]):
        total, polls = 0, polls + 1
        for member in _family(roots):
            try:
                spent = member.cpu_times()
                seconds[member] = spent.user + spent.system
                if polls % POLLS_PER_MEMORY == 0:
                    total += _own_memory(member.pid)
            except (psutil.Error, OSError):  # it has exited meanwhile
                continue
        memory = max(memory, total)
        time.sleep(0.2)
    return sum(seconds.values()), memory


def _family(roots: Sequence[psutil.Process]) -> list[psutil.Process]:
    found = []
    for root in roots:
        try:
            found += [root, *root.children(recursive=True)]
        except psutil.Error:
            continue
    return found


def _own_memory(pid: int) -> int:
    """Bytes: its own pages, and its part of shared ones."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return 1024 * int(line.split()[1])
    return 0


def median(results: Sequence[Result]) -> Result:
    """The medians of each; of `until`, None where half of the searches did not reach it."""
    until = []
    for moments in zip(*(result.until for result in results), strict=True):
        middle = statistics.median_high([float("inf") if moment is None else moment for moment in moments])
        until.append(None if middle == float("inf") else middle)
    return Result(
        statistics.median(result.seconds for result in results),
        statistics.median(result.processor for result in results),
        statistics.median_high([result.epochs for result in results]),
        statistics.median(result.best for result in results),
        tuple(until),
        statistics.median(result.first for result in results),
        statistics.median_high([result.memory for result in results]),
    )


def compared(found: Mapping[str, Mapping[int, Result]]) -> Iterator[str]:
    """A line for each way: its wall time and its best accuracy against those of hpo with the same seeds."""
    ours = found.get("hpo", {})
    for way, results in found.items():
        shared = sorted(results.keys() & ours.keys())
        if not shared:
            continue
        mean = statistics.mean(results[seed].best for seed in shared)
        if way == "hpo":
            yield f"- hpo: mean best accuracy {mean:.4f}"
            continue
        ratios = [results[seed].seconds / ours[seed].seconds for seed in shared]
        points = [100 * (ours[seed].best - results[seed].best) for seed in shared]
        spread = f"{statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f})"
        error = f" (standard error {statistics.stdev(points) / len(points) ** 0.5:.2f})" if len(points) > 1 else ""
        seeds = "" if len(shared) == len(ours) else f"; of seed {', '.join(map(str, shared))}"
        yield (
            f"- {way}: {spread} times the wall time of hpo; mean best accuracy {mean:.4f}, "
            f"hpo {statistics.mean(points):+.2f} points{error}{seeds}"
        )


def row(result: Result) -> str:
    until = " / ".join("never" if moment is None else f"{moment:.0f}" for moment in result.until)
    return (
        f"{result.seconds:.0f} | {result.processor:.0f} | {result.epochs} | {result.best:.4f} | {until} "
        f"| {result.first:.1f} | {result.memory / GIB:.2f}"
    )


if __name__ == "__main__":
    main()
