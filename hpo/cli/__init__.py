"""The command line: one function a verb, in the files beside this one. Nothing heavy is imported before its verb."""

from __future__ import annotations

from typing import Annotated

import typer

import hpo
from hpo.cli import (
    archive,
    auto,
    data,
    database,
    export,
    final,
    launch,
    logs,
    look,
    maintain,
    manage,
    pareto,
    plan,
    predict,
    replay,
    report,
    server,
    steer,
    train,
    worker,
)
from hpo.cli.answer import say

app = typer.Typer(
    name="hpo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

BEGIN, WORK, STEER, LOOK, USE, KEEP = "Begin", "Search", "Steer", "Look", "Use", "Serve and maintain"


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"hpo-service {hpo.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Hyperparameter optimization for PyTorch: from a study file to its best model in one command."""


app.command(rich_help_panel=BEGIN)(auto.auto)
app.command(rich_help_panel=BEGIN)(plan.init)
app.command(rich_help_panel=BEGIN)(plan.check)
app.command(rich_help_panel=BEGIN)(plan.space)
app.add_typer(data.data, name="data", rich_help_panel=BEGIN)
app.command(rich_help_panel=WORK)(train.run)
app.command(rich_help_panel=WORK)(train.submit)
app.command(rich_help_panel=WORK)(worker.worker)
app.command(rich_help_panel=WORK)(launch.up)
app.command(rich_help_panel=WORK)(launch.down)
app.add_typer(launch.deploy, name="deploy", rich_help_panel=WORK)
app.command(rich_help_panel=STEER)(steer.pause)
app.command(rich_help_panel=STEER)(steer.resume)
app.command(rich_help_panel=STEER)(steer.stop)
app.command(rich_help_panel=STEER)(steer.kill)
app.command("set", rich_help_panel=STEER)(steer.change)
app.command(rich_help_panel=STEER)(manage.enqueue)
app.command(rich_help_panel=STEER)(manage.fork)
app.command(rich_help_panel=STEER)(manage.rename)
app.command(rich_help_panel=STEER)(manage.delete)
app.command(rich_help_panel=LOOK)(look.ls)
app.command(rich_help_panel=LOOK)(look.status)
app.command(rich_help_panel=LOOK)(look.trials)
app.command(rich_help_panel=LOOK)(look.best)
app.command(rich_help_panel=LOOK)(pareto.pareto)
app.command(rich_help_panel=LOOK)(look.diff)
app.command(rich_help_panel=LOOK)(look.show)
app.command(rich_help_panel=LOOK)(logs.logs)
app.command(rich_help_panel=LOOK)(report.importance)
app.command(rich_help_panel=LOOK)(report.report)
app.command(rich_help_panel=USE)(final.finalize)
app.command(rich_help_panel=USE)(predict.predict)
app.command(rich_help_panel=USE)(export.export)
app.command(rich_help_panel=LOOK)(replay.replay)
app.command(rich_help_panel=KEEP)(server.dashboard)
app.add_typer(server.user, name="user", rich_help_panel=KEEP)
app.add_typer(server.token, name="token", rich_help_panel=KEEP)
app.command(rich_help_panel=KEEP)(server.audit)
app.command(rich_help_panel=KEEP)(maintain.doctor)
app.command(rich_help_panel=KEEP)(manage.clean)
app.command("import", rich_help_panel=KEEP)(archive.import_)
app.add_typer(database.db, name="db", rich_help_panel=KEEP)
