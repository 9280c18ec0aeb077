"""`hpo auto`: from data to a tested model. It writes a study file that can be kept and changed, and runs it."""

from __future__ import annotations

import json
import math
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hpo.errors import SpecError
from hpo.results.final import Final
from hpo.results.final_words import number_between
from hpo.results.study import Study
from hpo.service.assembly import Search, Workspace, begin
from hpo.service.finalize import Request, finalize
from hpo.service.guess import Guess, guess
from hpo.service.preflight import slots_for
from hpo.service.server import start_server
from hpo.settings import DEFAULT_ARTIFACTS, DEFAULT_STORE, templates_folder
from hpo.store import Store, StoreUrl
from hpo.study.families import FAMILIES
from hpo.study.study_file import read_study

STUDY_FILE, REPORT, HOW_TO = "study.yaml", "report.html", "README.md"
SEARCH_SHARE = 0.6  # of the time, for the search; the rest trains its best again and tests the final model
TRIAL_SHARE = 0.25  # of the time, at most for one trial
MOST_TRIALS = 300
KEPT = 30  # models; of five, all are like the best one, and averages of them as uncertain as it
FOLDS = {"table": 5, "series": 3}
FEW_SAMPLES = 600  # whose validation part, a fifth, can hardly tell trials apart
FEW_ROWS, LONG_MINUTES = 2000, 3.0  # of a table, where there is time to train on each fold
MOST_SEEDS, FEWEST_SEEDS, FULL_TOP = 5, 2, 3


@dataclass(frozen=True)
class AutoResult:
    """
    Attributes:
        folder: with the study file, the store, the report and the model.
        verdict: the answer in one line.
    """

    folder: Path
    study: str
    final: Final
    verdict: str

    def _repr_html_(self) -> str:
        """As a cell of a notebook shows it: the answer, and what `hpo finalize` found."""
        from hpo.notebook import block, line

        return block(line(self.verdict, is_title=True), line(self.folder), self.final._repr_html_())


def auto(
    source: str | Path | pd.DataFrame,
    *,
    target: str | None = None,
    minutes: float = 10.0,
    out: str | Path | None = None,
    kind: str | None = None,
    horizon: int | None = None,
    period: int | None = None,
    slots: int | None = None,
) -> AutoResult:
    """Look at data, search for a model, and test it once beside simple models, as `hpo auto` does.

        hpo.auto("houses.csv", target="price", minutes=5).verdict

    Args:
        source: a CSV, TSV or Parquet file, a folder of images, an .npz file, or a data frame.
        target: the column to predict, or to forecast.
        minutes: for all of it.
        out: a new folder for the study, its store, the model and the report; by default the data's name with '-auto'.
        kind: table, images, sequences or series, where the data would be taken for another.
        horizon, period: of a series: the steps that it is forecast, and those of a season.
        slots: trials at a time; by default one a GPU, or one a core.

    Raises:
        HpoError: the data cannot be learned from, the folder is there already, or no trial has ended with a model.
        KeyboardInterrupt: it was interrupted.
    """
    is_frame = isinstance(source, pd.DataFrame)
    name = "data" if is_frame else name_for(Path(str(source)))
    folder = Path(out or f"{name}-auto").expanduser().resolve()
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "data.csv" if is_frame else Path(str(source)).expanduser().resolve()
        if isinstance(source, pd.DataFrame):
            source.to_csv(file, index=False)
        found = guess(file, target=target, kind=kind, horizon=horizon, period=period)
        kept = folder / file.name if is_frame else file
        study = write_project(found.at(kept), name, folder, minutes=minutes, templates=templates_folder())
        if is_frame:
            shutil.copy(file, kept)
    server = start_server(None, folder)
    try:
        with Store.create(StoreUrl.parse(DEFAULT_STORE, base=folder)) as store:
            workspace = Workspace(server, folder, store, folder / DEFAULT_ARTIFACTS)
            return run_auto(workspace, study, minutes=minutes, slots=slots)
    finally:
        server.stop()


def write_project(found: Guess, name: str, folder: Path, *, minutes: float, templates: Path, seed: int = 0) -> Path:
    """A project folder with the shipped models and a study file, which is returned.

    Raises:
        SpecError: the folder is there already and not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SpecError(f"{folder} is there already and not empty: name a new folder with --out")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(templates / "models", folder / "models", ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / STUDY_FILE
    file.write_text(study_text(found, name, minutes, seed), encoding="utf-8")
    return file


def run_auto(
    workspace: Workspace,
    file: Path,
    *,
    minutes: float,
    slots: int | None = None,
    train: Callable[[Search], None] = lambda search: search.worker.run_until_done(),
    say: Callable[[str], None] = lambda line: None,
    draw: Callable[[], None] = lambda: None,
) -> AutoResult:
    """Search, train the best again, test once beside simple models, and write the report.

    Args:
        train, say, draw: as of `finalize`.

    Raises:
        HpoError: the data cannot be learned from, or no trial has ended with a model.
        KeyboardInterrupt: it was interrupted; `hpo run` and `hpo finalize` go on.
    """
    started = time.monotonic()
    spec, source = read_study(file)
    machine = slots_for(spec, source, wanted=slots)
    search = begin(workspace, spec, source, machine=machine, on_frame=lambda _: draw())
    say(search.message)
    train(search)
    search.check_end()
    left = 60 * minutes - (time.monotonic() - started)
    request = _request(Study(workspace.store, spec.study), left * len(machine))
    final = finalize(workspace, spec.study, request, slots=slots, train=train, say=say, draw=draw)
    from hpo.report.writing import report_text, write_whole  # templates and drawings take a second

    folder = file.parent
    write_whole(folder / REPORT, report_text(workspace.store, spec.study, "html"))
    verdict = verdict_of(final)
    (folder / HOW_TO).write_text(_how_to(spec.study, verdict, file, better_model(final)), encoding="utf-8")
    return AutoResult(folder, spec.study, final, verdict)


def verdict_of(final: Final) -> str:
    """The answer in one line: the score on the test part, and whether a simple model does as well."""
    found = final.test or final.validation or {}
    if "objective" not in found:
        return f"{final.study}: tested; see the report"
    name = found["objective"]["name"]
    own = number_between(found["metrics"][name])
    rivals = sorted(found.get("baselines", []), key=lambda one: float(one["gain"]["value"]))
    if not rivals:
        return f"{name} {own} on the {found['part']} part"
    best = rivals[0]
    theirs = f"{best['name']} with {best['metrics'][name]:.4g}"
    if best["gain"]["value"] < 0:
        how = "better" if best["gain"].get("high", 0.0) < 0 else "as well or better"
        return f"A simple model does {how} on the {found['part']} part: {theirs}, the network {name} {own}"
    return f"{name} {own} on the {found['part']} part; the best simple model is {theirs}"


def _request(study: Study, device_seconds: float) -> Request:
    """As many re-runs as the time left allows, of as many of the best trials."""
    best = study.best(FULL_TOP)
    seconds = statistics.fmean([one.seconds or 1.0 for one in best]) if best else 1.0
    affordable = math.floor(device_seconds / max(0.1, seconds)) - MOST_SEEDS  # which the final models need
    top = FULL_TOP if affordable >= FULL_TOP * 3 else 1
    seeds = min(MOST_SEEDS, max(FEWEST_SEEDS, affordable // top))
    return Request(top, seeds, retrains=True, tests=True, is_ensemble=True)


def study_text(found: Guess, name: str, minutes: float, seed: int) -> str:
    """The study file for data that was looked at.

    Args:
        minutes: for all, of which the search has a part.
    """
    data = "\n".join(f"  {key}: {json.dumps(value)}" for key, value in found.data.items())
    saw = "\n".join(f"# {line}." for line in found.saw)
    hours, trial_minutes = SEARCH_SHARE * minutes / 60, TRIAL_SHARE * minutes
    budget = f"trials: {MOST_TRIALS}, hours: {hours:.4g}, trial_minutes: {trial_minutes:.4g}"
    return f"""# Written by `hpo auto`, to keep and to change: `hpo run {STUDY_FILE}` in this folder searches again.
{saw}
study: {name}
model: auto{" " * 4}# {", ".join(FAMILIES[found.data["class"]])}: which one is searched too
data:
{data}
objective: {found.objective}
{_folds(found, minutes)}budget: {{{budget}}}
keep: {{checkpoints: {KEPT}}}      # among which an ensemble is chosen
seed: {seed}
"""


def _folds(found: Guess, minutes: float) -> str:
    """A line for tables and series whose validation part is too small to tell trials apart.

    The networks for other data train for too long.
    """
    folds = FOLDS.get(found.kind)
    few = FEW_ROWS if found.kind == "table" and minutes >= LONG_MINUTES else FEW_SAMPLES
    if folds is None or found.samples is None or found.samples >= few:
        return ""
    return f"folds: {folds}{' ' * 6}# each trial is judged by {folds} parts of so few samples\n"


def better_model(final: Final) -> str | None:
    """The simple model that does better than the network; None where none does."""
    found = final.test or final.validation or {}
    rivals = sorted(found.get("baselines", []), key=lambda one: float(one["gain"]["value"]))
    return str(rivals[0]["name"]) if rivals and rivals[0]["gain"]["value"] < 0 else None


def _how_to(study: str, verdict: str, file: Path, simple: str | None) -> str:
    instead = "" if simple is None else f'    hpo export {study} --baseline "{simple}"\n'
    return f"""# {study}

{verdict}.

- `{REPORT}`: how good the model is, how it was found, and why it decides as it does.
- `{file.name}`: the study, to change and run again: `hpo run {file.name}`.

In this folder:

    hpo predict {study} NEWDATA -o predictions.csv
    hpo export {study} --format onnx
{instead}    hpo best {study}
"""


def name_for(source: Path) -> str:
    """A study's name after the data."""
    return re.sub(r"[^\w]+", "-", source.stem).strip("-") or "data"
