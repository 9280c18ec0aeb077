"""The same search by each tool, one after the other: its cost and its result.

    python benchmarks/search.py [fashion | tabular] [--seeds 0 1 2 3 4] [--only hpo optuna-2] [--write]
    python benchmarks/search.py [fashion | tabular] --same-points [--trials 8] [--arch cnn]
    python benchmarks/search.py [fashion | tabular] --rows-of search-fashion search-fashion-more

    fashion   24 trials of at most 6 epochs: a perceptron or a small CNN on 10,000 images of Fashion-MNIST
    tabular   200 trials of at most 20 epochs: a perceptron on the 569 rows of scikit-learn's breast cancer

The networks, the data, the ranges, the number of trials and of epochs are the same for all:

    optuna-1    Optuna's example for PyTorch Lightning: TPE, MedianPruner, its Lightning callback, SQLite; one process
    optuna-2    the same as two processes of one thread each, and half of the trials each
    ray         Ray Tune's tutorial for PyTorch Lightning: OptunaSearch, ASHA, one core per trial, two at once
    ray-reuse   the same with reuse_actors
    hpo         `hpo run` with the study file benchmarks/experiments/contest/*.yaml: TPE, ASHA, two slots
    hpo-plain   the same without fused optimizers, channels last and activations after pooling: the others' networks
                line by line

What a search takes depends on the configurations that its sampler comes upon, so two kinds of runs tell two things:

    --same-points   what the execution is worth: every tool trains the same random configurations, another set for each
                    seed, each to its last epoch; Optuna's processes take them from one queue
    otherwise       what the search is worth: with the sampler and the pruner of each, as the time until an accuracy,
                    over the seeds; tell it of ten seeds at least, since single ones are luck

Needs `pip install '.[contest]'`. Prints the table of benchmarks/README.md, with --write into it: a row per run, the
medians, and for each seed that two ways share the ratio of their times and the difference of their results. --rows-of
measures nothing, and tells the time until an accuracy from tables that are there already. A search that fails is
reported, and the others continue. Memory is the proportional set size of all processes together: shared pages count
once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import readme
from experiments.contest.measure import REACHED, TRIALS, WAYS, Result, SearchError, Task, search
from experiments.contest.points import draw_points
from experiments.contest.tables import compared, cost_of_points, head, median, quality_table, read_rows, row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", nargs="?", choices=TRIALS, default="fashion")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--once", nargs="+", choices=WAYS, default=[], help="with the first seed only")
    parser.add_argument("--same-points", action="store_true", help="the same configurations for all, without pruning")
    parser.add_argument("--trials", type=int, help="with --same-points: so many configurations")
    parser.add_argument(
        "--arch", choices=("mlp", "cnn"), help="with --same-points: networks of fashion of this kind only"
    )
    parser.add_argument("--rows-of", nargs="+", metavar="SECTION", help="of benchmarks/README.md, instead of measuring")
    parser.add_argument("--section", help="of benchmarks/README.md, for --write; search-PROTOCOL if it is not given")
    readme.add_options(parser)
    options = parser.parse_args()
    if not options.same_points and (options.trials or options.arch):
        parser.error("--trials and --arch are for --same-points: a search has its protocol's")
    if options.arch and options.protocol != "fashion":
        parser.error("--arch is for fashion: the networks of tabular are all perceptrons")
    output = readme.Output(options.section or f"search-{options.protocol}", options)
    reached = REACHED[options.protocol]
    if options.rows_of:
        text = "".join(readme.read_table(options.readme, section) for section in options.rows_of)
        rows = {way: results for way, results in read_rows(text).items() if way not in options.once}
        for line in quality_table({way: rows[way] for way in options.only if way in rows}, reached):
            output.line(line)
        output.write()
        return

    def task_of(seed: int) -> Task:
        count = options.trials or TRIALS[options.protocol]
        points = draw_points(options.protocol, count, seed, options.arch) if options.same_points else None
        return Task(options.protocol, seed, points)

    found, failures = measured(options, task_of, output)
    output.line()
    for line in cost_of_points(found) if options.same_points else compared(found):
        output.line(line)
    if not options.same_points:
        output.line()
        for line in quality_table({way: results for way, results in found.items() if way not in options.once}, reached):
            output.line(line)
    output.write()
    sys.exit(failures > 0)


def measured(
    options: argparse.Namespace, task_of: Callable[[int], Task], output: readme.Output
) -> tuple[dict[str, dict[int, Result]], int]:
    """(the results of each way and seed, the number of failures), with a row for each and the medians printed."""
    output.line(head(REACHED[options.protocol], task_of(options.seeds[0]).most_epochs))
    found: dict[str, dict[int, Result]] = {way: {} for way in options.only}
    failures = 0
    for seed in options.seeds:
        task = task_of(seed)
        for way in options.only:  # in turns, so that a slow hour affects all
            if way in options.once and seed != options.seeds[0]:
                continue
            try:
                found[way][seed] = search(way, task)
            except SearchError as error:  # the results of the others have taken hours, and are kept
                failures += 1
                print(error, file=sys.stderr)
                output.line(f"| {way} | {seed} | failed | | | | | | |")
            else:
                output.line(f"| {way} | {seed} | {row(found[way][seed])} |")
    for way, results in found.items():
        if results and way not in options.once:
            output.line(f"| **{way}** | median | {row(median(list(results.values())))} |")
    return found, failures


if __name__ == "__main__":
    main()
