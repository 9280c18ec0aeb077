"""Verbs that take a study's model elsewhere: export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.answer import say
from hpo.cli.archive import export_archive
from hpo.cli.options import ArtifactsOption, ProjectOption, StoreOption, StudyName, open_to_look
from hpo.errors import SpecError
from hpo.service.server import start_server

if TYPE_CHECKING:
    from hpo.service.export import Exported

ARCHIVE = "archive"  # a format that is no model


def export(
    study: StudyName,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="Of the model: onnx, torch-export or safetensors (weights alone); archive is the whole study.",
        ),
    ] = "onnx",
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="DIR",
            help="The folder to write, or the file of an archive; by default STUDY-FORMAT.",
        ),
    ] = None,
    trial: Annotated[
        int | None, typer.Option("--trial", metavar="N", min=0, help="Export this trial of the search.")
    ] = None,
    final: Annotated[
        bool | None,
        typer.Option("--final/--search", help="Export the final model, or the best trial (default: final, if any)."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", metavar="NAME", help="Export this simple model instead: 'gradient boosting', ..."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of an earlier archive.")] = False,
    store: StoreOption = None,
    project: ProjectOption = None,
    artifacts: ArtifactsOption = None,
) -> None:
    """Write a study's best model to a folder that runs without this package, and compare it with the original.

    With --format onnx, the folder has a predict.py that needs onnxruntime and numpy only. With --format archive, the
    whole study is written to one file, which hpo import reads into another store.
    """
    if format == ARCHIVE:
        if trial is not None or final is not None or baseline is not None:
            raise SpecError("--format archive is the whole study: leave out --trial, --final, --search and --baseline")
        export_archive(study, out, force=force, store=store, project=project, artifacts=artifacts)
        return
    server = start_server(store, project)
    try:
        from hpo.results.study import Study
        from hpo.service.export import check_format
        from hpo.service.export import export as export_with
        from hpo.settings import project_folder

        check_format(format)
        folder = project_folder(project)
        with open_to_look(store, project) as opened:
            done = export_with(
                server,
                opened,
                Study(opened, study),
                format,
                out,
                trial=trial,
                final=final,
                baseline=baseline,
                project=folder,
            )
    finally:
        server.stop()
    _tell(done, study)


def _tell(done: Exported, study: str) -> None:
    facts, found = done.facts, done.facts["comparison"]
    value = "" if facts["value"] is None else f", {facts['value']:.4g} at {facts['unit']} {facts['best_epoch']}"
    say(f"{study}, {facts['model']}{value}: {facts['config']['model']['class']} as {facts['format']}")
    inputs = "; ".join(f"{each['name']} ({', '.join(map(str, each['shape']))})" for each in facts["inputs"])
    say(f"  takes {inputs}; gives {', '.join(facts['outputs'])}")
    values = f" of values up to {found['largest_value']:.3g}" if found["largest_value"] > 1 else ""
    say(
        f"  largest difference from the original: {found['largest_difference']:.1e}{values}, on {found['samples']:,} "
        "samples of the validation part"
    )
    for remark in done.remarks:
        say(f"  {remark}")
    say(f"{done.folder}: README.md tells how it is used")
