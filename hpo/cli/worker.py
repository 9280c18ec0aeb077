"""The verb that lends this machine to studies: worker."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import typer

from hpo.cli.options import ArtifactsOption, ProjectOption, SlotsOption, StoreOption, url_of
from hpo.errors import SpecError, StoreUnreachableError
from hpo.service.server import start_server

# sysexits.h: a temporary failure, which another attempt may mend; engines that requeue by exit code are told this one.
TEMPORARY_FAILURE = 75


def worker(
    studies: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STUDY ...]", envvar="HPO_STUDIES", help="Studies to work on."),
    ] = None,
    slots: SlotsOption = None,
    trials_per_device: Annotated[
        str | None,
        typer.Option(
            "--trials-per-device",
            envvar="HPO_TRIALS_PER_DEVICE",
            metavar="N|auto",
            help="Trials that share a GPU; by default as the first named study says, or 1.",
        ),
    ] = None,
    cores: Annotated[
        int | None,
        typer.Option("--cores", envvar="HPO_CORES", min=1, help="Cores to use (default: those of this process)."),
    ] = None,
    store: StoreOption = None,
    project: ProjectOption = None,
    artifacts: ArtifactsOption = None,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", envvar="HPO_UNTIL_IDLE", help="Exit when no trial is left to train.")
    ] = False,
    drain_seconds: Annotated[
        float | None,
        typer.Option(
            "--drain-seconds",
            envvar="HPO_DRAIN_SECONDS",
            metavar="S",
            min=0,
            help="For which trials may finish their epoch when it is asked to end (default: 20).",
        ),
    ] = None,
    max_seconds: Annotated[
        float | None,
        typer.Option(
            "--max-seconds",
            envvar="HPO_MAX_SECONDS",
            metavar="S",
            help="Exit within this time, with all trials handed back.",
        ),
    ] = None,
    health: Annotated[
        str | None,
        typer.Option(
            "--health",
            envvar="HPO_HEALTH",
            metavar="[HOST:]PORT",
            help="Answer GET /live and GET /ready there (default host: 127.0.0.1).",
        ),
    ] = None,
    end_with_parent: Annotated[
        bool,
        typer.Option("--end-with-parent", envvar="HPO_END_WITH_PARENT", help="Drain when the starting process exits."),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", envvar="HPO_VERBOSE", help="Log details for developers as well."),
    ] = False,
) -> None:
    """Train trials of the named studies, or of all open ones, and wait for more.

    Every option may also stand in the environment. Exits with 0 where nothing is left to train, with 75 where it was
    asked to end and trials are left (or the store cannot be reached), with 2 after a mistake that you can fix, and with
    1 when it failed.
    """
    if end_with_parent:
        from hpo.worker.parent import drain_with_parent

        drain_with_parent()
    if cores is not None:
        os.environ["HPO_CORES"] = str(cores)
    server = start_server(store, project, artifacts)
    try:
        from hpo.cli.screen import log_to_stderr
        from hpo.service.assembly import Workspace
        from hpo.service.work import WorkerOptions, work
        from hpo.settings import artifacts_folder, project_folder
        from hpo.store import Store
        from hpo.study.object_store import check_artifacts

        log_to_stderr(verbose=verbose)
        folder, url = project_folder(project), url_of(store, project)
        options = WorkerOptions(
            tuple(studies or ()),
            slots=slots,
            trials_per_device=_trials_per_device(trials_per_device),
            is_until_idle=until_idle,
            drain_seconds=drain_seconds,
            max_seconds=max_seconds,
            health=health,
        )
        artifacts = artifacts_folder(artifacts, folder)
        check_artifacts(artifacts)
        with Store.create(url) as opened:
            leaves_work = work(Workspace(server, folder, opened, artifacts), options)
    except StoreUnreachableError as error:
        error.exit_code = TEMPORARY_FAILURE
        raise
    finally:
        server.stop()
    if leaves_work:
        raise typer.Exit(TEMPORARY_FAILURE)


def _trials_per_device(text: str | None) -> int | Literal["auto"] | None:
    if text is None or text == "auto":
        return "auto" if text else None
    if not text.isdecimal() or int(text) < 1:
        raise SpecError(f"--trials-per-device {text}: should be a number of trials, such as 2, or auto")
    return int(text)
