"""The cost of a trial for the store, and of a large study for its worker.

A trial of eight parameters and ten epochs, by default sampled by TPE and judged by ASHA, on a worker's real code; every
epoch is written separately, as when epochs last longer than the outbox waits. Optuna's ask, suggest, report,
should_prune and tell do the same on the same kind of database in the same run. Counted are the statements that
SQLAlchemy sends, without the BEGIN and PRAGMA of each transaction, and the commits. Beside times, the worker's own
processor time is in brackets: it hardly depends on other work of the machine. Where several workers share a study, none
of them waits for a training, so each does as much as twenty that train epochs of seconds.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from experiments.databases import KINDS, new_store
from experiments.simulated import ACTIVATIONS, EPOCHS, OPTIMIZERS, SimulatedWorker, create_study, fill, score
from experiments.table import Row, Table, figure, promise
from hpo.store import Store
from hpo.worker.poll import poll_store

MIB = 2**20
PROMISED_SIZE = 10_000  # finished trials up to which the times are promised
TIMINGS = ("claim", "decision", "write", "poll")


def measure(options: argparse.Namespace) -> Table:
    rows: list[Row] = []
    for kind in options.stores:
        rows += _cost_of_trials(kind, trials=options.trials)
        for size in options.sizes:
            is_promised = size <= PROMISED_SIZE
            counts = options.workers if is_promised else []
            rows += _large_study(kind, size, timed=options.timed if is_promised else 3, counts=counts)
    return Table(("", "measured", "promised"), rows)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stores", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--trials", type=int, default=20, help="whose statements are counted")
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000], help="of the large studies")
    parser.add_argument("--workers", type=int, nargs="*", default=[4, 16], help="that share a study of 10,000 at once")
    parser.add_argument("--timed", type=int, default=30, help="trials that are timed in a study of 10,000")


# ---- statements and commits


@dataclass
class Traffic:
    """The statements and commits that were sent to a database."""

    statements: int = 0
    commits: int = 0

    def __sub__(self, other: Traffic) -> Traffic:
        return Traffic(self.statements - other.statements, self.commits - other.commits)

    def copy(self) -> Traffic:
        return Traffic(self.statements, self.commits)


@contextmanager
def counted(engine: Engine) -> Iterator[Traffic]:
    traffic = Traffic()

    def on_statement(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        traffic.statements += not statement.startswith(("BEGIN", "PRAGMA"))

    def on_commit(_connection: Any) -> None:
        traffic.commits += 1

    listened: list[tuple[str, Any]] = [("before_cursor_execute", on_statement), ("commit", on_commit)]
    for name, listener in listened:
        event.listen(engine, name, listener)
    try:
        yield traffic
    finally:
        for name, listener in listened:
            event.remove(engine, name, listener)


def _cost_of_trials(kind: str, *, trials: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder, new_store(kind, Path(folder)) as url:
        ours, polls = _our_traffic(url, Path(folder), trials=trials)
        theirs = _optunas_traffic(url, trials=trials)
    statements, commits = (max(getattr(one, what) for one in ours) for what in ("statements", "commits"))
    optuna = [[getattr(one, what) for one in theirs] for what in ("statements", "commits")]
    return [
        promise(f"{kind}: most statements of a trial of {EPOCHS} epochs", statements, 40),
        promise(f"{kind}: most commits of it", commits, 15),
        figure(f"{kind}: Optuna's statements, commits", ", ".join(f"{min(of)}-{max(of)}" for of in optuna)),
        figure(f"{kind}: statements of a worker's poll, each second", f"{polls.statements}"),
    ]


def _our_traffic(url: str, artifacts: Path, *, trials: int) -> tuple[list[Traffic], Traffic]:
    """The traffic of each trial that was not paused at a rung, and of one poll."""
    found: list[Traffic] = []
    with Store.create(url) as store, counted(store.engine) as traffic:
        worker = SimulatedWorker(store, create_study(store), artifacts)
        while len(found) < trials:
            before = traffic.copy()
            trial = worker.claim()
            assert trial is not None
            worker.started(trial)
            epochs = 0
            for epoch in range(1, EPOCHS + 1):
                epochs = epoch
                is_over = worker.epoch(trial, epoch)
                worker.outbox.flush()
                if is_over:
                    break
            worker.end(trial)
            worker.outbox.flush()
            if epochs == EPOCHS and trial.claim.attempt == 1:
                found.append(traffic - before)
        before = traffic.copy()
        poll_store(store, [worker.run], [0])
        return found, traffic - before


def _optunas_traffic(url: str, *, trials: int) -> list[Traffic]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.RDBStorage(url.replace("postgresql:", "postgresql+psycopg:"))
    # NopPruner would hardly be cheaper: a pruner's writes are a statement or two.
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=3, reduction_factor=3)
    study = optuna.create_study(storage=storage, direction="maximize", pruner=pruner)
    found: list[Traffic] = []
    with counted(storage.engine) as traffic:
        while len(found) < trials:
            before = traffic.copy()
            trial = study.ask()
            params = {
                "lr": trial.suggest_float("lr", 1e-5, 1e-1, log=True),
                "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True),
                "dropout": trial.suggest_float("dropout", 0.0, 0.5),
                "momentum": trial.suggest_float("momentum", 0.5, 0.99),
                "depth": trial.suggest_int("depth", 1, 6),
                "width": trial.suggest_int("width", 16, 512, log=True),
                "optimizer": trial.suggest_categorical("optimizer", OPTIMIZERS),
                "activation": trial.suggest_categorical("activation", ACTIVATIONS),
            }
            value, is_pruned = 0.0, False
            for epoch in range(1, EPOCHS + 1):
                value = score(params, epoch)
                trial.report(value, epoch)
                if is_pruned := bool(trial.should_prune()):
                    break
            study.tell(trial, None if is_pruned else value, state=_state(is_pruned))
            if not is_pruned:
                found.append(traffic - before)
    storage.engine.dispose()
    return found


def _state(is_pruned: bool) -> Any:
    from optuna.trial import TrialState

    return TrialState.PRUNED if is_pruned else TrialState.COMPLETE


# ---- large studies


def _large_study(kind: str, count: int, *, timed: int, counts: Sequence[int]) -> list[Row]:
    label = f"{kind}, {count:,} finished trials"
    with tempfile.TemporaryDirectory() as folder, new_store(kind, Path(folder)) as url:
        with Store.create(url) as store:
            fill(store, create_study(store), count)
        [alone] = _at_once(1, url, folder, timed=timed)
        together = {workers: _at_once(workers, url, folder, timed=timed) for workers in counts}
    rows = _rows_of_one(label, alone, is_promised=count <= PROMISED_SIZE)
    for workers, several in together.items():
        rows += _rows_of_several(f"{label}, {workers} workers at once", several)
    return rows


def _at_once(workers: int, url: str, folder: str, *, timed: int) -> list[dict[str, Any]]:
    """The measurements of so many workers, which all began when the last of them had opened the study."""
    command = [sys.executable, str(Path(__file__).parent / "in_large_study.py"), url, folder, str(timed)]
    members = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(workers)
    ]
    for member in members:
        assert member.stdout is not None
        assert member.stdout.readline() == "ready\n"
    for member in members:
        assert member.stdin is not None
        member.stdin.write("go\n")
        member.stdin.flush()
    return [json.loads(member.communicate(timeout=1800)[0].splitlines()[-1]) for member in members]


def _rows_of_several(label: str, several: Sequence[dict[str, Any]]) -> list[Row]:
    all_of = {name: [value for found in several for value in found[name]] for name in ("claim_processor", *TIMINGS)}
    median = {name: 1000 * statistics.median(values) for name, values in all_of.items()}
    claims = f"{median['claim']:.0f} ms ({median['claim_processor']:.0f} ms)"
    rest = f"{median['decision']:.2f} ms; {median['write']:.1f} ms; {median['poll']:.1f} ms"
    traffic = [pair for found in several for pair in found["traffic"]]
    return [
        figure(f"{label}: statements, commits of a trial, at most", _most(traffic)),
        figure(f"{label}: claim and sampling; report and decision; its write; a poll", f"{claims}; {rest}"),
    ]


def _most(traffic: Sequence[tuple[int, int]]) -> str:
    return ", ".join(str(max(of)) for of in zip(*traffic, strict=True)) or "no trial reached its last epoch"


def _rows_of_one(label: str, found: dict[str, Any], *, is_promised: bool) -> list[Row]:
    median = {name: 1000 * statistics.median(found[name]) for name in ("claim_processor", "rung", *TIMINGS)}
    rung = median["rung"]
    processor = f" ({median['claim_processor']:.0f} ms)"
    opened = f"{found['first']:.1f} s ({found['first_processor']:.1f} s)"
    traffic = figure(f"{label}: statements, commits of a trial, at most", _most(found["traffic"]))
    if not is_promised:
        return [
            traffic,
            figure(f"{label}: opened, and the first trial claimed and sampled", opened),
            figure(f"{label}: claim and sampling, median", f"{median['claim']:.0f} ms{processor}"),
            figure(f"{label}: report and decision, median; at a rung", f"{median['decision']:.2f} ms; {rung:.1f} ms"),
            figure(f"{label}: the worker's memory at its peak", f"{found['memory'] / MIB:.0f} MiB"),
        ]
    return [
        traffic,
        promise(f"{label}: report and decision, median", median["decision"], 5, unit=" ms", digits=2),
        figure(f"{label}: the same at a rung of ASHA", f"{rung:.1f} ms"),
        figure(f"{label}: its write, later", f"{median['write']:.1f} ms"),
        promise(f"{label}: claim and sampling, median", median["claim"], 150, unit=" ms", note=processor),
        figure(f"{label}: a worker's poll, each second", f"{median['poll']:.1f} ms"),
        figure(f"{label}: opened, and the first trial claimed and sampled", opened),
        promise(f"{label}: the worker's memory at its peak", found["memory"] / MIB, 400, unit=" MiB"),
    ]


def work_in_large_study(url: str, artifacts: Path, timed: int, *, begin: Callable[[], None]) -> dict[str, Any]:
    """The seconds that a new worker needs for its first trials there; in a separate process, to measure its memory.

    Args:
        begin: called when the study is open, before the first trial.
    """
    from hpo.queue.studies import load_study

    started = time.perf_counter()
    found: dict[str, Any] = {name: [] for name in ("claim_processor", "rung", "traffic", *TIMINGS)}
    with Store.open(url) as store, counted(store.engine) as traffic:
        worker = SimulatedWorker(store, load_study(store, "simulated"), artifacts)
        worker.run.refresh()
        begin()
        for number in range(timed + 1):
            sent = traffic.copy()
            before, processor = time.perf_counter(), time.process_time()
            trial = worker.claim()
            assert trial is not None
            if number == 0:
                found["first"], found["first_processor"] = time.perf_counter() - started, time.process_time()
            else:
                found["claim"].append(time.perf_counter() - before)
                found["claim_processor"].append(time.process_time() - processor)
            worker.started(trial)
            for epoch in range(1, EPOCHS + 1):
                before = time.perf_counter()
                is_over = worker.epoch(trial, epoch)
                answered = time.perf_counter()
                worker.outbox.flush()
                found["decision"].append(answered - before)
                found["write"].append(time.perf_counter() - answered)
                if epoch in (3, 9):
                    found["rung"].append(answered - before)
                if is_over:
                    break
            worker.end(trial)
            worker.outbox.flush()
            if epoch == EPOCHS and trial.claim.attempt == 1:
                found["traffic"].append(((traffic - sent).statements, (traffic - sent).commits))
            before = time.perf_counter()
            poll_store(store, [worker.run], [0])
            found["poll"].append(time.perf_counter() - before)
    assert "torch" not in sys.modules
    found["memory"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found
