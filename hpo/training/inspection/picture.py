"""One picture of the data: histograms of a table, images of each class, sequences with their targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from hpo.training.inspection.draw_images import draw_images
from hpo.training.inspection.draw_sequences import draw_sequences
from hpo.training.inspection.draw_table import draw_table
from hpo.training.inspection.layout import Layout
from hpo.training.inspection.samples import Samples
from hpo.training.inspection.style import (
    DOTS_PER_INCH,
    INCHES,
    PART_COLOURS,
    STYLE,
    draw_histogram,
    draw_targets,
)


def save_picture(file: Path, title: str, layout: Layout, parts: Sequence[Samples]) -> None:
    """Draw the samples of the parts into a file of 1200 x 800 pixels.

    Raises:
        OSError: the file cannot be written.
    """
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]  # it wants each name as a literal
        figure_of(title, layout, parts).savefig(file)


def figure_of(title: str, layout: Layout, parts: Sequence[Samples]) -> Figure:
    """The drawing, which takes its style from matplotlib's settings."""
    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    draw = {"table": draw_table, "images": draw_images, "sequences": draw_sequences}.get(layout.kind, _draw_arrays)
    caption = draw(figure, layout, parts)
    seen = ", ".join(f"{samples.seen:,} of {samples.part}" for samples in parts)
    figure.suptitle(f"{title}\n{caption}; samples: {seen}", fontsize=11, linespacing=1.5)
    return figure


def _draw_arrays(figure: Figure, layout: Layout, parts: Sequence[Samples]) -> str:
    left, right = figure.subplots(1, 2)
    some = [samples.inputs[layout.main][:1000].reshape(-1) for samples in parts[:2]]
    draw_histogram(left, some, [samples.part for samples in parts[:2]], PART_COLOURS)
    left.set_title("all values of the inputs")
    left.set_xlabel("value")
    left.set_ylabel("share of values")
    left.legend(frameon=False)
    draw_targets(right, layout, parts)
    return f"inputs of the shape {parts[0].inputs[layout.main].shape[1:]}"
