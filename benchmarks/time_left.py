"""How well `hpo run` predicts the time that is left, under each pruner.

    python benchmarks/time_left.py [--studies NAME ...] [--pruners NAME ...] [--seed 0] [--record FILE] [--write]

Runs shipped studies to their end, one after the other, and divides what the live view said at 25, 50 and 75 % of the
run ('about 20 s to 35 s left') by the time that was left then: 1 is right, 2 is twice too long. A row is a run, on two
slots; the promise is that what was left lies between the two, or within a factor of 1.5 of them. `--record` also writes
what the predictions were made from, and the epochs that were left, for the tests.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import math
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import readme

from hpo.search.forecast import SearchSoFar
from hpo.service.assembly import Workspace, begin
from hpo.service.preflight import slots_for
from hpo.service.server import start_server
from hpo.store import Store, StoreUrl
from hpo.study.study_file import read_study
from hpo.worker.study_run import StudyRun
from hpo.worker.time_left import TimeLeft

ROOT = Path(__file__).resolve().parents[1]
SHARES = (0.25, 0.5, 0.75)
PROMISED = 1.5

# Trials: as many as make a run of half a minute or more.
STUDIES = {"digits_dnn": 40, "diabetes_dnn": 40, "japanese_vowels_lstm": 12}
PRUNERS = {
    "asha": ["pruner={name: asha, min_epochs: 3}", "early_stopping=null"],
    "median": ["pruner=median", "early_stopping=null"],
    "hyperband": ["pruner=hyperband", "early_stopping=null"],
    "none": ["pruner=none", "early_stopping=null"],
    "early stopping": ["pruner=none", "early_stopping={patience: 3}"],
}


@dataclass(frozen=True)
class Moment:
    """What the live view said at a moment of a run.

    Attributes:
        at: seconds since the run began to train.
        seconds: that it expected to be left, at least and at most; None where it said nothing.
        epochs: that had been trained.
        so_far: what the expectation was made from.
    """

    at: float
    seconds: tuple[float, float] | None
    epochs: int
    so_far: SearchSoFar


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", nargs="+", choices=STUDIES, default=list(STUDIES), metavar="NAME")
    parser.add_argument("--pruners", nargs="+", choices=PRUNERS, default=list(PRUNERS), metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, help="a .json.gz file")
    readme.add_options(parser)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    output = readme.Output("time_left", options)
    output.line("| study | pruner | run s | epochs | at 25 % | at 50 % | at 75 % |\n|---|---|---|---|---|---|---|")
    recorded: list[dict[str, Any]] = []
    said: list[tuple[float, float]] = []
    for study in options.studies:
        for pruner in options.pruners:
            moments = search(study, pruner, seed=options.seed)
            seconds, epochs = moments[-1].at, moments[-1].epochs
            found = [next(m for m in reversed(moments) if m.at <= share * seconds) for share in SHARES]
            left = [(m.seconds, seconds - m.at) for m in found]
            row = [bounds and (bounds[0] / real, bounds[1] / real) for bounds, real in left]
            said += [ratios for ratios in row if ratios is not None]
            cells = " | ".join("-" if ratios is None else f"{ratios[0]:.2f} to {ratios[1]:.2f}" for ratios in row)
            output.line(f"| `{study}` | {pruner} | {seconds:.0f} | {epochs} | {cells} |")
            recorded += [
                {"study": study, "pruner": pruner, "share": share, "left": epochs - m.epochs, **asdict(m.so_far)}
                for share, m in zip(SHARES, found, strict=True)
            ]
    outside = [max(1.0, least, 1 / most) if most else float("inf") for least, most in said]
    middles = [math.sqrt(least * most) for least, most in said if least]
    factors = [max(middle, 1 / middle) for middle in middles]
    held = sum(factor <= PROMISED for factor in outside)
    output.line(
        f"\nWhat was left lay between the two, or within a factor of {PROMISED:g} of them, at {held} of {len(said)} "
        f"moments; the worst was outside by a factor of {max(outside):.2f}. The middle of the two was wrong by a "
        f"factor of {statistics.median(factors):.2f} in the median, {max(factors):.2f} at worst, and at most "
        f"{PROMISED:g} at {sum(factor <= PROMISED for factor in factors)}."
    )
    output.write()
    if options.record is not None:
        with gzip.open(options.record, "wt", encoding="utf-8") as file:
            json.dump(recorded, file, separators=(",", ":"))


def search(study: str, pruner: str, *, seed: int) -> list[Moment]:
    """Run a study to its end: what the live view would have said, a few times a second."""
    moments: list[Moment] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        changes = [*PRUNERS[pruner], f"budget={{trials: {STUDIES[study]}}}", f"seed={seed}", "resources={slots: 2}"]
        spec, source = read_study(ROOT / "studies" / f"{study}.yaml", changes=changes)
        server = start_server(f"sqlite:///{folder}/hpo.db", ROOT)
        try:
            with Store.create(StoreUrl.parse(f"sqlite:///{folder}/hpo.db")) as store:
                workspace = Workspace(server, ROOT, store, folder / "artifacts")
                watch = Watch()
                found = begin(workspace, spec, source, machine=slots_for(spec, source, wanted=2), on_frame=watch.look)
                watch.begin(TimeLeft(found.worker, found.run), moments)
                found.worker.run_until_done()
                found.run.refresh()
                watch.look(found.run)
        finally:
            server.stop()
    return moments


class Watch:
    """Looks at a run as the live view does."""

    def begin(self, left: TimeLeft, moments: list[Moment]) -> None:
        self._left, self._moments, self._since = left, moments, time.monotonic()

    def look(self, run: StudyRun) -> None:
        self._left.look()
        if self._left.so_far is not None:
            at = time.monotonic() - self._since
            self._moments.append(Moment(at, self._left.seconds, run.epochs_trained, self._left.so_far))


if __name__ == "__main__":
    main()
