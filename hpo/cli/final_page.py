"""What `hpo finalize` prints: the answer first, then the re-runs, the test, and the simple models."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.table import Table

from hpo.cli.console import Text, console
from hpo.results.final import Final
from hpo.results.final_words import (
    baselines_in_words,
    ensemble_in_words,
    kept_in_words,
    luck_in_words,
    number_between,
    tested_in_words,
)


def show_final(final: Final) -> None:
    """Print it."""
    out = console()
    lines = (*tested_in_words(final), luck_in_words(final), *ensemble_in_words(final), *baselines_in_words(final))
    for line in lines:
        out.print(Text(line))
    out.print(_reruns(final))
    for warning in final.warnings:
        out.print(Text(f"warning: {warning}"))
    out.print(Text(f"The final model is {kept_in_words(final.kept)}, trained on {final.kept.trained_on}."))
    out.print(Text("Next:"))
    for command in ("report {}", "predict {} NEWDATA -o predictions.csv", "export {} --format onnx"):
        out.print(Text(f"  hpo {command.format(final.study)}"), soft_wrap=True)  # copied as one line


def _reruns(final: Final) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    for heading in ("trial", "in the search", "mean of re-runs", "deviation", "seeds", ""):
        table.add_column(Text(heading), justify="left" if not heading else "right")
    for rerun in final.reruns:
        remark = "the winner" if rerun.trial == final.winner else "out of the race" if rerun.is_out else ""
        if rerun.failed:
            remark = f"{remark}, {rerun.failed} failed".removeprefix(", ")
        deviation = rerun.deviation
        table.add_row(
            str(rerun.trial),
            f"{rerun.searched:.4g}",
            "-" if rerun.mean is None else number_between(rerun.mean),
            "-" if deviation is None else f"{deviation:.2g}",
            str(len(rerun.scores)),
            Text(remark),
        )
    return table
