"""Small pictures of samples and of what models look at, as `data:` URIs that a page can hold."""

from __future__ import annotations

import base64
import io

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from hpo.training.inspection.layout import Layout, images_of
from hpo.training.inspection.samples import Array
from hpo.training.inspection.style import BLUE, COLOURS, ORANGE, STYLE

SIDE = 96  # pixels of a small picture
MOST_LINES = 6  # values of a sequence that are drawn as lines; more are a heat map
WIDTH = 2.2  # inches of one sample's panel


def sample_picture(layout: Layout, sample: Array, again: Array | None = None) -> str | None:
    """A sample, and its reconstruction beside it; None where it has no picture.

    Args:
        sample, again: one sample's main input, without the dimension of the samples.
    """
    both = [sample] if again is None else [sample, again.reshape(sample.shape)]
    if layout.kind == "images":
        return _uri(_side_by_side([_grey(images_of(one[None])[0]) for one in both]))
    if layout.kind == "sequences":
        with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]  # it wants each name as a literal
            figure = Figure(figsize=(WIDTH, 1.1), dpi=72, layout="constrained")
            axes = figure.subplots()
            _draw_steps(axes, sample)
            axes.axis("off")
            return _of_figure(figure)
    return None


def attribution_picture(layout: Layout, samples: Array, attributions: Array, titles: list[str]) -> str:
    """Samples above what a prediction rests on: red speaks for it, blue against it.

    Args:
        samples, attributions: (samples, ...).
    """
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(max(3.0, 1.3 * len(samples)), 3.0), dpi=80, layout="constrained")
        axes = figure.subplots(2, len(samples), squeeze=False)
        for number, (sample, given) in enumerate(zip(samples, attributions, strict=True)):
            most = float(np.abs(given).max()) or 1.0
            if layout.kind == "images":
                axes[0, number].imshow(_grey(images_of(sample[None])[0]), cmap="gray")
                shown = images_of(given[None])[0].sum(-1)
                axes[1, number].imshow(shown, cmap="RdBu_r", vmin=-most, vmax=most)
            else:
                _draw_steps(axes[0, number], sample)
                axes[1, number].imshow(given.T, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
            axes[0, number].set_title(titles[number], fontsize=8)
            for panel in axes[:, number]:
                panel.set_xticks([])
                panel.set_yticks([])
        return _of_figure(figure)


def lag_picture(importance: Array) -> str:
    """How much each step of the window matters: (steps,), the last one right before the forecast."""
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(6.0, 2.2), dpi=80, layout="constrained")
        axes = figure.subplots()
        axes.bar(np.arange(1 - len(importance), 1), importance, color=BLUE)
        axes.set_xlabel("step of the window, 0 is the last before the forecast")
        axes.set_ylabel("mean |attribution|")
        return _of_figure(figure)


def _draw_steps(axes: object, sample: Array) -> None:
    if sample.shape[-1] <= MOST_LINES:
        for column in range(sample.shape[-1]):
            colour = (BLUE, ORANGE, *COLOURS[2:])[column]
            axes.plot(sample[:, column], color=colour, linewidth=1)  # type: ignore[attr-defined]
    else:
        axes.imshow(sample.T, cmap="viridis", aspect="auto")  # type: ignore[attr-defined]


def _grey(image: Array) -> Array:
    """From 0 to 1, (height, width) of one channel or (height, width, 3)."""
    low, high = float(image.min()), float(image.max())
    scaled = (image - low) / (high - low or 1.0)
    return scaled[..., 0] if scaled.shape[-1] != 3 else scaled


def _side_by_side(images: list[Array]) -> Image.Image:
    shown = [Image.fromarray((255 * image).astype(np.uint8)) for image in images]
    scale = SIDE / max(shown[0].size)
    size = tuple(max(1, round(scale * side)) for side in shown[0].size)
    pixels = [image.convert("RGB").resize((size[0], size[1]), Image.Resampling.NEAREST) for image in shown]
    whole = Image.new("RGB", (sum(one.width + 4 for one in pixels) - 4, size[1]), "white")
    for number, one in enumerate(pixels):
        whole.paste(one, (number * (one.width + 4), 0))
    return whole


def _uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return _as_uri(buffer)


def _of_figure(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return _as_uri(buffer)


def _as_uri(buffer: io.BytesIO) -> str:
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
