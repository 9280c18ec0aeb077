"""Verbs that search: run, submit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.answer import say
from hpo.cli.launch import LauncherOption, LauncherOptions, WorkersOption
from hpo.cli.options import (
    SERVER,
    ArtifactsOption,
    NameOption,
    ProjectOption,
    SetOption,
    SlotsOption,
    StoreOption,
    StudyFile,
    server_chosen,
    url_of,
)
from hpo.printable import counted
from hpo.service.server import start_server

if TYPE_CHECKING:
    from hpo.study.spec import StudySpec
    from hpo.study.study_file import Source

TrialsOption = Annotated[
    int | None, typer.Option("--trials", min=1, help="Total number of trials (default: the file's).")
]
AcceptOption = Annotated[
    bool,
    typer.Option(
        "--accept-changes", help="Continue it with other data or code; its trials so far are compared no more."
    ),
]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Log details for developers as well.")]


def run(
    file: StudyFile,
    trials: TrialsOption = None,
    slots: SlotsOption = None,
    name: NameOption = None,
    changes: SetOption = None,
    store: StoreOption = None,
    project: ProjectOption = None,
    artifacts: ArtifactsOption = None,
    accept_changes: AcceptOption = False,
    launcher: LauncherOption = None,
    workers: WorkersOption = 1,
    launcher_options: LauncherOptions = None,
    verbose: VerboseOption = False,
) -> None:
    """Create or continue a study, train it on this machine or by a launcher, and show its best trials."""
    server = start_server(store, project, artifacts)
    try:
        from hpo.cli.screen import Screen
        from hpo.settings import artifacts_folder, project_folder
        from hpo.study.object_store import check_artifacts

        folder, url = project_folder(project), url_of(store, project)
        artifacts = artifacts_folder(artifacts, folder)
        check_artifacts(artifacts)
        spec, source = _read(file, trials, name, changes)
        if launcher is not None:
            from hpo.cli.launch import order_of, run_on

            order = order_of(
                spec.study, (spec.study,), store=store, folder=folder, artifacts=artifacts, workers=workers
            )
            run_on(
                server,
                spec,
                source,
                launcher=launcher,
                options=launcher_options or [],
                order=order,
                is_change_accepted=accept_changes,
                again=f"hpo run {file} --launcher {launcher}",
            )
            return
        screen = Screen.start(verbose=verbose)

        from hpo.service.assembly import Workspace, begin
        from hpo.service.preflight import slots_for
        from hpo.store import Store

        machine = slots_for(spec, source, wanted=slots)  # before a store is created for what cannot be trained here
        with Store.create(url) as opened:
            workspace = Workspace(server, folder, opened, artifacts)
            with screen.busy("importing torch and the study's classes, and trying one batch of a new study"):
                search = begin(
                    workspace,
                    spec,
                    source,
                    machine=machine,
                    on_frame=lambda _: screen.draw(),
                    is_change_accepted=accept_changes,
                )
            screen.say(f"{search.message}; {counted(len(search.worker.slots), 'slot')}; store {url}")
            with screen.live(search.worker, search.run):
                search.worker.run_until_done()
            screen.show_result(opened, search.run, store_option=store)
    finally:
        server.stop()
    try:
        search.check_end()
    except KeyboardInterrupt:
        screen.say(f"stopped early; the same command continues: hpo run {file}")
        raise typer.Exit(130) from None


def submit(
    file: StudyFile,
    trials: TrialsOption = None,
    name: NameOption = None,
    changes: SetOption = None,
    store: StoreOption = None,
    project: ProjectOption = None,
    accept_changes: AcceptOption = False,
) -> None:
    """Create or continue a study, and leave the training to workers."""
    if SERVER.url is not None and store is None:
        _submit_to_server(file, trials, name, changes, is_change_accepted=accept_changes)
        return
    server = start_server(store, project)
    try:
        from hpo.service.assembly import Workspace
        from hpo.service.assembly import submit as submit_study
        from hpo.settings import artifacts_folder, project_folder
        from hpo.store import Store

        folder, url = project_folder(project), url_of(store, project)
        spec, source = _read(file, trials, name, changes)
        with Store.create(url) as opened:
            workspace = Workspace(server, folder, opened, artifacts_folder(None, folder))
            _, message = submit_study(workspace, spec, source, is_change_accepted=accept_changes)
    finally:
        server.stop()
    say(message)


def _submit_to_server(
    file: Path, trials: int | None, name: str | None, changes: list[str] | None, *, is_change_accepted: bool
) -> None:
    from hpo.study.study_file import text_of

    given = [*(changes or []), *([f"budget.trials={trials}"] if trials is not None else [])]
    with server_chosen() as studies:
        message, notes = studies.submit(
            text_of(file), file=str(file), name=name, changes=given, is_change_accepted=is_change_accepted
        )
    for note in notes:
        say(note, err=True)
    say(message)


def _read(file: Path, trials: int | None, name: str | None, changes: list[str] | None) -> tuple[StudySpec, Source]:
    from hpo.study.study_file import read_study

    extra = [f"budget.trials={trials}"] if trials is not None else []
    return read_study(file, changes=[*(changes or []), *extra], name=name)
