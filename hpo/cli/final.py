"""The verb that ends a search with a model: finalize."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli.answer import print_json
from hpo.cli.options import ArtifactsOption, JsonOption, ProjectOption, SlotsOption, StoreOption, StudyName, url_of
from hpo.service.server import start_server


def finalize(
    study: StudyName,
    top: Annotated[int, typer.Option("--top", min=1, help="Best trials of the search that are trained again.")] = 3,
    seeds: Annotated[int, typer.Option("--seeds", min=2, help="Fresh seeds of each of them.")] = 5,
    retrain: Annotated[
        str | None,
        typer.Option("--retrain", metavar="train+val", help="Train the final model on the validation part too."),
    ] = None,
    ensemble: Annotated[bool, typer.Option("--ensemble", help="Average several models, where that pays.")] = False,
    test: Annotated[bool, typer.Option("--test", help="Test the final model on the test part, once.")] = False,
    test_again: Annotated[
        bool, typer.Option("--test-again", help="Test although the test part was looked at before.")
    ] = False,
    trial: Annotated[
        int | None, typer.Option("--trial", min=0, help="Train this trial again, such as one of a front, not the best.")
    ] = None,
    slots: SlotsOption = None,
    store: StoreOption = None,
    project: ProjectOption = None,
    artifacts: ArtifactsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a study's best trials again with fresh seeds, choose by the mean, and keep a model that is tested once."""
    server = start_server(store, project, artifacts)
    try:
        from hpo.cli.final_page import show_final
        from hpo.cli.progress import Progress
        from hpo.service.assembly import Workspace
        from hpo.service.finalize import Request
        from hpo.service.finalize import finalize as finalize_study
        from hpo.settings import artifacts_folder, project_folder
        from hpo.store import Store

        folder = project_folder(project)
        progress = Progress(as_json=as_json)
        request = Request.of(
            top, seeds, retrain=retrain, ensemble=ensemble, test=test, test_again=test_again, trial=trial
        )
        with Store.open(url_of(store, project)) as opened:
            workspace = Workspace(server, folder, opened, artifacts_folder(artifacts, folder))
            try:
                found = finalize_study(
                    workspace, study, request, slots=slots, train=progress.train, say=progress.say, draw=progress.draw
                )
            except KeyboardInterrupt:
                progress.say(f"stopped early; the same command goes on: hpo finalize {study}")
                raise typer.Exit(130) from None
    finally:
        server.stop()
    if as_json:
        print_json(found.to_json())
    else:
        show_final(found)
