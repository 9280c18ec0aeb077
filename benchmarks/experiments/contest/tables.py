"""The tables of `benchmarks/search.py`: a row a search, medians, ratios, and the time to a quality with intervals."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence

from experiments.contest.measure import Result

GIB = 2**30
CONFIDENCE = 0.95
NEVER = math.inf

Found = Mapping[str, Mapping[int, Result]]  # by way and seed


def head(reached: Sequence[float], most_epochs: int) -> str:
    """The first two lines of a table of searches."""
    low, high = reached
    return (
        f"| | seed | wall s | CPU s | epochs of {most_epochs} | best accuracy | s until {low} / {high} "
        "| first step after s | peak memory GiB |\n|---|---|---|---|---|---|---|---|---|"
    )


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


def compared(found: Found) -> Iterator[str]:
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


ROW = re.compile(r"^\| (?P<way>[\w-]+) \| (?P<seed>\d+) \| (?P<cells>\d.*) \|$", re.MULTILINE)


def read_rows(text: str) -> dict[str, dict[int, Result]]:
    """The searches of tables that were written before, as exact as they were written."""
    found: dict[str, dict[int, Result]] = {}
    for match in ROW.finditer(text):
        seconds, processor, epochs, best, moments, first, memory = match["cells"].split(" | ")
        until = tuple(None if moment == "never" else float(moment) for moment in moments.split(" / "))
        result = Result(
            float(seconds), float(processor), int(epochs), float(best), until, float(first), round(float(memory) * GIB)
        )
        found.setdefault(match["way"], {})[int(match["seed"])] = result
    return found


def quality_table(found: Found, reached: Sequence[float]) -> Iterator[str]:
    """The time to each quality and to the end, and how many times hpo's it is, of the seeds that a way shares with hpo.

    A search that does not reach a quality takes for ever, which a median over many seeds can bear; a seed with which
    neither does counts in no ratio.
    """
    within = f"median ({CONFIDENCE:.0%} interval)"
    yield f"| until | | seeds | reached it | s, {within} | times as long as hpo, {within} |"
    yield "|---|---|---|---|---|---|"
    goals = [*map(str, reached), "the end"]
    for place, goal in enumerate(goals):
        for way, results in found.items():
            ours = found.get("hpo", {})
            shared = sorted(results.keys() & ours.keys())
            times = {seed: _moments(results[seed])[place] for seed in shared}
            best = {seed: _moments(ours[seed])[place] for seed in shared}
            ratios = [times[seed] / best[seed] for seed in shared if min(times[seed], best[seed]) < NEVER]
            compared_with = "" if way == "hpo" else with_interval(ratios, digits=1)
            count = sum(moment < NEVER for moment in times.values())
            spread = with_interval(list(times.values()), digits=0)
            yield f"| {goal} | {way} | {len(shared)} | {count} | {spread} | {compared_with} |"


def _moments(result: Result) -> list[float]:
    return [*(NEVER if moment is None else moment for moment in result.until), result.seconds]


def with_interval(values: Sequence[float], *, digits: int) -> str:
    """The median and its confidence interval, in words; those of a few values have none."""
    if not values:
        return "-"
    bounds = interval_of_median(values)
    middle = _number(statistics.median(values), digits)
    return middle if bounds is None else f"{middle} ({'-'.join(_number(bound, digits) for bound in bounds)})"


def interval_of_median(values: Sequence[float]) -> tuple[float, float] | None:
    """Two of the values, between which the median of what they are drawn from is, with 95 % confidence at least.

    It assumes nothing of their distribution: each value is as likely above that median as below. Below six values even
    the least and the greatest are not enough. See Conover, Practical Nonparametric Statistics, on quantiles.
    """
    count, least, tail = len(values), -1, 0.0
    while True:
        tail += math.comb(count, least + 1) / 2**count  # so many values or fewer are below the median
        if 2 * tail > 1 - CONFIDENCE:
            break
        least += 1
    ordered = sorted(values)
    return (ordered[least], ordered[-1 - least]) if least >= 0 else None


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "never"


def cost_of_points(found: Found) -> Iterator[str]:
    """A line for each way: its wall and processor times against those of hpo, of the same configurations."""
    ours = found.get("hpo", {})
    for way, results in found.items():
        shared = sorted(results.keys() & ours.keys())
        if way == "hpo" or not shared:
            continue
        wall = [results[seed].seconds / ours[seed].seconds for seed in shared]
        processor = [results[seed].processor / ours[seed].processor for seed in shared]
        yield f"- {way}: {_spread(wall)} times the wall time of hpo, {_spread(processor)} times its processor time"


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
