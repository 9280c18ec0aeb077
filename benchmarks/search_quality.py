"""What a sampler and a pruner are worth: searches of recorded grids of trainings, by simulation.

    python benchmarks/search_quality.py [--tasks cnn lstm mlp table] [--searchers "tpe + asha" optuna random]
                                        [--slots 1 4 16] [--seeds 20] [--trainings 30] [--results FILE] [--write]
    python benchmarks/search_quality.py --quick
    python benchmarks/search_quality.py record cnn|lstm|mlp|table ...

The first prints the tables of benchmarks/README.md, with --write into it. Nothing is trained: `hpo.search.simulate`
gets the curves of a grid, in which every configuration was trained with two seeds, and counts the seconds of its
epochs; other tools search by ask and tell on the same clock. At any time a search would choose the trial with the best
epoch so far. Of this choice the tables tell

    regret      percentage points by which its final validation accuracy, over all its recorded seeds, is below the best
                of the grid
    trainings   device time: how many complete trainings of the mean duration would have taken as long, on all slots
    test        the test accuracy of the chosen model itself

as medians over the seeds of the search, with bootstrap intervals of 95 %; the mean difference to today's default is
paired by these seeds.

A searcher is `SAMPLER + PRUNER` as in a study file, also `package.module:Class + asha`; or one of another tool, where
it is installed. --results appends each search to a file and goes on with what is there, which should be of the same
code: the whole takes hours.
`record` trains a grid anew, on one core: some minutes each.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # samplers' matrices are small

import readme
from replays import claims
from replays.grid import FOLDER, Grid, grid_of, save
from replays.grids import RECIPES
from replays.runs import Plan, Run, append, read, run
from replays.searchers import BASIS, USUAL, searcher_of
from replays.tables import quality_table

from hpo.errors import HpoError

QUICK = {"tasks": ["mlp"], "searchers": [BASIS, "random"], "slots": [4], "seeds": 2, "trainings": 5.0}
CLAIM_SLOTS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", nargs="*", metavar="record TASK", help="train the grids of tasks")
    parser.add_argument("--tasks", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--searchers", nargs="+", default=list(USUAL))
    parser.add_argument("--slots", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--seeds", type=int, default=20, help="how many; the first is 1")
    parser.add_argument("--trainings", type=float, default=30.0, help="the budget of a search")
    parser.add_argument("--results", type=Path, help="searches that were made")
    parser.add_argument("--quick", action="store_true", help="a small part, in seconds")
    readme.add_options(parser)
    options = parser.parse_args()
    if options.quick:
        parser.set_defaults(**QUICK)
        options = parser.parse_args()
    if options.record:
        if options.record[0] != "record" or len(options.record) == 1 or set(options.record[1:]) - set(RECIPES):
            parser.error(f"{' '.join(options.record)}: should be record, and some of {', '.join(RECIPES)}")
        from replays.recording import record  # imports torch

        for task in options.record[1:]:
            save(FOLDER / f"{task}.npz", RECIPES[task].space, record(RECIPES[task]))
        return
    if min(options.slots) < 1 or options.seeds < 1 or options.trainings <= 0:
        parser.error("--slots, --seeds and --trainings should be positive")
    output = readme.Output("search_quality", options)
    try:
        searchers = list(_usable(options.searchers, output))
        grids = [grid_of(task) for task in options.tasks]
    except HpoError as error:
        sys.exit(str(error))
    for line in _tables(grids, searchers, options):
        output.line(line)
    output.write()


def _usable(names: Sequence[str], output: readme.Output) -> Iterator[str]:
    """Those of the searchers that can be asked; a line for those of the usual ones that cannot."""
    for name in names:
        try:
            searcher_of(name)
        except HpoError as error:
            if name not in USUAL:
                raise
            output.line(f"Left out: {error}.\n")
        else:
            yield name


def _tables(grids: Sequence[Grid], searchers: Sequence[str], options: argparse.Namespace) -> Iterator[str]:
    known = read(options.results) if options.results else {}

    def done(plan: Plan) -> Run:
        if plan not in known:
            known[plan] = run(plan)
            if options.results:
                append(options.results, known[plan])
        return known[plan]

    seeds = range(1, options.seeds + 1)
    for grid in grids:
        for slots in options.slots:
            runs = {
                name: [done(Plan(grid.name, name, slots, seed, options.trainings)) for seed in seeds]
                for name in searchers
            }
            yield from quality_table(grid, slots, runs)
    yield from claims.tables(grids, searchers, seeds=seeds, slots=CLAIM_SLOTS, trainings=options.trainings)


if __name__ == "__main__":
    main()
