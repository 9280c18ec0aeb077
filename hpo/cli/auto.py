"""The verb that leads from data to a tested model: auto."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.answer import print_json, say
from hpo.cli.options import JsonOption, SlotsOption
from hpo.service.server import start_server


def auto(
    source: Annotated[
        Path, typer.Argument(metavar="DATA", help="A CSV, TSV or Parquet file, a folder of images, or an .npz file.")
    ],
    target: Annotated[
        str | None, typer.Option("--target", metavar="COLUMN", help="The column to predict or to forecast.")
    ] = None,
    minutes: Annotated[float, typer.Option("--minutes", min=0.2, help="For all of it.")] = 10.0,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="DIR", help="A new folder; by default DATA-auto.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind", metavar="KIND", help="table, images, sequences or series, where it is taken for another."
        ),
    ] = None,
    horizon: Annotated[int | None, typer.Option("--horizon", min=1, help="Steps that a series is forecast.")] = None,
    period: Annotated[int | None, typer.Option("--period", min=2, help="Steps of a season of a series.")] = None,
    slots: SlotsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at data, search for a model, test it once beside simple models, and write a report and how to predict."""
    from hpo.service.guess import guess

    found = guess(source.expanduser().resolve(), target=target, kind=kind, horizon=horizon, period=period)
    server = start_server(None, None)
    try:
        from hpo.cli.progress import Progress
        from hpo.results.final_words import baselines_in_words, tested_in_words
        from hpo.service.assembly import Workspace
        from hpo.service.auto import REPORT, better_model, name_for, run_auto, write_project
        from hpo.settings import DEFAULT_ARTIFACTS, DEFAULT_STORE, templates_folder
        from hpo.store import Store, StoreUrl

        name = name_for(source)
        folder = (out or Path(f"{name}-auto")).expanduser().resolve()
        file = write_project(found, name, folder, minutes=minutes, templates=templates_folder())
        progress = Progress(as_json=as_json)
        for line in (*found.saw, f"{file} says what is searched, in {minutes:g} minutes"):
            progress.say(line)
        with Store.create(StoreUrl.parse(DEFAULT_STORE, base=folder)) as store:
            workspace = Workspace(server, folder, store, folder / DEFAULT_ARTIFACTS)
            try:
                done = run_auto(
                    workspace,
                    file,
                    minutes=minutes,
                    slots=slots,
                    train=progress.train,
                    say=progress.say,
                    draw=progress.draw,
                )
            except KeyboardInterrupt:
                progress.say(
                    f"stopped early; in {folder}, 'hpo run {file.name}' and 'hpo finalize {name} --test' go on"
                )
                raise typer.Exit(130) from None
    finally:
        server.stop()
    if as_json:
        print_json({"verdict": done.verdict, "folder": str(done.folder), "study": name, "final": done.final.to_json()})
        return
    for line in (done.verdict, *tested_in_words(done.final), *baselines_in_words(done.final)):
        say(line)
    say(f"\nNext:\n  cd {folder}\n  open {REPORT}\n  hpo predict {name} NEWDATA -o predictions.csv")
    if (simple := better_model(done.final)) is not None:
        say(f'  hpo export {name} --baseline "{simple}"')
