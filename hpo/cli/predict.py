"""Verbs that use a study's model: predict."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.answer import say
from hpo.cli.options import ProjectOption, StoreOption, StudyName, open_to_look
from hpo.service.server import start_server

if TYPE_CHECKING:
    from hpo.service.predict import Predicted


def predict(
    study: StudyName,
    data: Annotated[
        str,
        typer.Argument(
            metavar="NEWDATA", help="A file or folder of the kind that the study was trained on, without the target."
        ),
    ],
    out: Annotated[
        str, typer.Option("-o", "--out", metavar="FILE.csv", help="The file to write; '-' is the standard output.")
    ] = "-",
    trial: Annotated[
        int | None, typer.Option("--trial", metavar="N", min=0, help="Predict with this trial of the search.")
    ] = None,
    final: Annotated[
        bool | None,
        typer.Option(
            "--final/--search", help="Predict with the final model, or with the best trial (default: final, if any)."
        ),
    ] = None,
    proba: Annotated[bool, typer.Option("--proba", help="Also write the probability of each class.")] = False,
    store: StoreOption = None,
    project: ProjectOption = None,
) -> None:
    """Predict new data with a study's best model, and write a CSV: a row for each sample, or for each step ahead.

    The data are converted as those of the training were; what is odd in them is counted and told.
    """
    server = start_server(store, project)
    try:
        from hpo.results.study import Study
        from hpo.service.predict import STDOUT, output_file, source_in
        from hpo.service.predict import predict as predict_with
        from hpo.settings import project_folder

        folder = project_folder(project)
        source_in(data)
        with open_to_look(store, project) as opened, tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, "predictions.csv") if out == STDOUT else output_file(out, data)
            done = predict_with(
                server, Study(opened, study), data, path, trial=trial, final=final, proba=proba, project=folder
            )
            if out == STDOUT:
                with path.open(encoding="utf-8") as lines:
                    for line in lines:
                        say(line.rstrip("\n"))
    finally:
        server.stop()
    _tell(done, study, None if out == STDOUT else path)


def _tell(done: Predicted, study: str, path: Path | None) -> None:
    """The summary, on stderr, since the standard output may be the predictions."""
    trial, model, data = done.trial, done.trial.config["model"]["class"], done.trial.config["data"]["class"]
    value = "" if trial.value is None else f", {trial.value:.4g} at {trial.unit} {trial.best_epoch}"
    say(f"{study}, {done.model}{value}: {model}, trained on {data}", err=True)
    for remark in done.remarks:
        say(f"  {remark}", err=True)
    where = f": {path}" if path else ""
    say(f"{done.rows:,} {'row' if done.rows == 1 else 'rows'} predicted in {done.seconds:.1f} s{where}", err=True)
