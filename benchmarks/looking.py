"""How long it takes to look at a large store: to list, query and report it, and what the dashboard's requests take.

    python benchmarks/looking.py [--studies 1000] [--trials 20000] [--queried 10000] [--reported 1000 10000] [--write]

Prints the table of benchmarks/README.md, with --write into it. The stores are made by inserting rows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import readme

ROOT = Path(__file__).resolve().parents[1]
FLOATS = [f"x{index}" for index in range(7)]
OPTIMIZERS = ("adam", "sgd", "rmsprop")
EPOCHS = 10
QUERIES: tuple[tuple[str, ...], ...] = (
    ("trials", "--where", "optimizer == 'adam' and seconds < 60 and x0 < 0.3"),
    ("trials", "--where", "val_loss < 1 and started > '2026-01-01 02:00' and x0 + x1 < 0.6", "--sort", "-value"),
    ("trials", "--columns", "number,value,optimizer,x0,val_loss", "--sort", "optimizer,-value", "--csv"),
    ("best", "--by", "optimizer", "--where", "score > 1"),
)
FLOAT = json.dumps({"name": "FloatDistribution", "attributes": {"step": None, "low": 0.0, "high": 1.0, "log": False}})
CHOICE = json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": OPTIMIZERS}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=20_000)
    parser.add_argument("--queried", type=int, default=10_000)
    parser.add_argument("--reported", type=int, nargs="+", default=[1_000, 10_000], help="trials of studies to report")
    readme.add_options(parser)
    options = parser.parse_args()
    output = readme.Output("looking", options)
    output.line("| | s | MiB at most |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        many, large = f"sqlite:///{folder}/many.db", f"sqlite:///{folder}/large.db"
        fill(many, studies=options.studies, trials=20)
        fill(large, studies=1, trials=options.trials)
        studies, trials = f"{options.studies:,} studies", f"{options.trials:,} trials"
        for label, store, verb in (
            (f"`hpo ls`, {studies}", many, ["ls"]),
            (f"`hpo status`, {studies}", many, ["status", "study-0"]),
            (f"`hpo trials`, {trials}", large, ["trials", "study-0"]),
            (f"`hpo best`, {trials}", large, ["best", "study-0"]),
            (f"`hpo status`, {trials}", large, ["status", "study-0"]),
        ):
            output.line(row(label, *command(*verb, "--store", store)))
        queried = f"sqlite:///{folder}/queried.db"
        fill(queried, studies=2, trials=options.queried)
        for query in QUERIES:
            shown = " ".join(f'"{word}"' if " " in word else word for word in query)
            label = f"`hpo {shown}`, {options.queried:,} trials"
            output.line(row(label, *command(query[0], "study-0", *query[1:], "--store", queried)))
        label = f"`hpo diff`, two studies of {options.queried:,} trials"
        output.line(row(label, *command("diff", "study-0", "study-1", "--store", queried)))
        for number in options.reported:
            store, page = f"sqlite:///{folder}/reported-{number}.db", Path(folder) / f"{number}.html"
            fill(store, studies=1, trials=number)
            measured = command("report", "study-0", "--store", store, "-o", str(page))
            size = page.stat().st_size / 1e6
            output.line(row(f"`hpo report`, {number:,} trials ({size:.1f} MB)", *measured))
            with dashboard(store, Path(folder)) as (url, process):
                for when in ("first", "again"):
                    _, *answered = asked(f"{url}/ops/studies/study-0", process)
                    output.line(row(f"`/ops/studies/NAME`, {number:,} trials, {when}", *answered))
        with dashboard(many, Path(folder)) as (url, process):
            for when in ("first", "again"):
                output.line(row(f"`/ops`, {studies}, {when}", *asked(f"{url}/ops", process)[1:]))
        with dashboard(large, Path(folder)) as (url, process):
            for label, path in (("studies", ""), ("the study, first", "/1"), ("the study, again", "/1")):
                length, *answered = asked(f"{url}/api/studies{path}", process)
                output.line(row(f"dashboard, {trials}: {label} ({length / 2**20:.1f} MiB)", *answered))
    output.write()


def row(label: str, seconds: float, mebibytes: float) -> str:
    return f"| {label} | {seconds:.2f} | {mebibytes:.0f} |"


def command(*arguments: str) -> tuple[float, float]:
    """(seconds, MiB at most) of a verb."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "hpo", *arguments], stdout=subprocess.DEVNULL, cwd=ROOT)
    watched, most = psutil.Process(process.pid), 0
    while process.poll() is None:
        try:
            most = max(most, watched.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.01)
    assert process.wait() == 0
    return time.perf_counter() - started, most / 2**20


def asked(url: str, process: psutil.Process) -> tuple[int, float, float]:
    """(bytes, seconds, MiB of the server) of an answer."""
    started = time.perf_counter()
    size = len(urllib.request.urlopen(url).read())
    return size, time.perf_counter() - started, process.memory_info().rss / 2**20


@contextmanager
def dashboard(store: str, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Its address, and its process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hpo", "dashboard", "--store", store, "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    assert process.stdout is not None
    address = next(word for word in process.stdout.readline().split() if word.startswith("http"))
    try:
        yield address.rstrip("/"), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def fill(url: str, *, studies: int, trials: int, epochs: int = EPOCHS) -> None:
    """A store with so many studies, `study-0` and so on, of so many complete trials each, as workers leave them."""
    from sqlalchemy import insert, select

    from hpo.queue.leases import register_worker
    from hpo.queue.studies import create_or_continue
    from hpo.space import Choice, Float, Parameter, SearchSpace
    from hpo.store import Store, tables
    from hpo.study.resolved_study import ResolvedStudy
    from hpo.study.spec import StudySpec

    floats = tuple(Parameter(name, Float(0, 1)) for name in FLOATS)
    space = SearchSpace((*floats, Parameter("optimizer", Choice(*OPTIMIZERS))))
    keys: dict[str, Any] = {
        "model": "models.dnn:DNN",
        "data": "models.data:Digits",
        "objective": {"metric": "score", "direction": "maximize"},
        "budget": {"trials": trials},
    }
    begun = datetime(2026, 1, 1)
    with Store.create(url) as store:
        worker = register_worker(store, host="benchmark", pid=1, slots=1)
        ids = []
        for number in range(studies):
            spec = StudySpec.model_validate(keys | {"study": f"study-{number}"})
            ids.append(create_or_continue(store, ResolvedStudy(spec, space, {"model": {}, "data": {}}))[0].study_id)
        with store.write() as connection:
            for study_id in ids:
                connection.execute(
                    insert(tables.trials),
                    [
                        {
                            "study_id": study_id,
                            "number": number,
                            "state": "COMPLETE",
                            "datetime_start": begun + timedelta(seconds=number),
                            "datetime_complete": begun + timedelta(seconds=number + 2.5),
                        }
                        for number in range(trials)
                    ],
                )
            rows: dict[str, list[dict[str, Any]]] = {
                name: []
                for name in (
                    "trial_params",
                    "trial_values",
                    "trial_intermediate_values",
                    "hpo_trials",
                    "hpo_epochs",
                    "hpo_attempts",
                )
            }
            for trial_id, number in connection.execute(select(tables.trials.c.trial_id, tables.trials.c.number)):
                point: dict[str, Any] = {name: (number * (i + 1) % 997) / 997 for i, name in enumerate(FLOATS)}
                value = sum(point.values())
                choice = {"param_name": "optimizer", "param_value": number % 3, "distribution_json": CHOICE}
                rows["trial_params"].append({"trial_id": trial_id} | choice)
                for name, amount in point.items():
                    rows["trial_params"].append(
                        {"trial_id": trial_id, "param_name": name, "param_value": amount, "distribution_json": FLOAT}
                    )
                rows["trial_values"].append(
                    {"trial_id": trial_id, "objective": 0, "value": value, "value_type": "FINITE"}
                )
                for epoch in range(1, epochs + 1):
                    reached = value * epoch / epochs
                    metrics = json.dumps({"score": reached, "train_loss": 1 / epoch, "val_loss": 2 / epoch})
                    rows["trial_intermediate_values"].append(
                        {
                            "trial_id": trial_id,
                            "step": epoch,
                            "intermediate_value": reached,
                            "intermediate_value_type": "FINITE",
                        }
                    )
                    rows["hpo_epochs"].append(
                        {"trial_id": trial_id, "epoch": epoch, "attempt": 1, "metrics": metrics, "seconds": 0.25}
                    )
                point["optimizer"] = OPTIMIZERS[number % 3]
                config = json.dumps({"params": point, "model": {}, "data": {}, "epochs": epochs})
                rows["hpo_trials"].append(
                    {"trial_id": trial_id, "config": config, "best_epoch": epochs, "seconds": 2.5}
                )
                rows["hpo_attempts"].append(
                    {
                        "trial_id": trial_id,
                        "number": 1,
                        "worker_id": worker,
                        "slot": 0,
                        "device": "cpu",
                        "started": 1.0,
                        "lease_until": 2.0,
                        "ended": 3.5,
                        "kind": "done",
                        "cause": "complete",
                        "seconds": 2.5,
                    }
                )
            for name, inserted in rows.items():
                connection.execute(insert(getattr(tables, name)), inserted)


if __name__ == "__main__":
    main()
