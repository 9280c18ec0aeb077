"""The style of the pictures, and the panel of targets that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from hpo.training.inspection.layout import Layout
from hpo.training.inspection.samples import Array, Samples

# Okabe and Ito's colours, distinguishable with any kind of colour vision: jfly.uni-koeln.de/color
BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
# followed by some of Paul Tol's: sronpersonalpages.nl/~pault
COLOURS = (
    BLUE,
    ORANGE,
    GREEN,
    VERMILLION,
    PURPLE,
    SKY,
    "#999933",
    "#882255",
    "#332288",
    "#AA4499",
    "#44AA99",
    "#DDCC77",
)
PART_COLOURS = (BLUE, ORANGE)  # train, validation
OTHERS = "#999999"  # classes beyond those with a colour of their own

INCHES, DOTS_PER_INCH = (12.0, 8.0), 100
STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
    "text.parse_math": False,  # a column may be named 'US$'
}

MOST_CLASSES = len(COLOURS)
MOST_BINS = 30
FEW_VALUES = 12


def shortened(text: str, most: int = 22) -> str:
    """A name short enough not to overlap its neighbour: names often differ at their end, so both ends are kept."""
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end]}…{text[-end:]}"


def round_ticks(axis: Axis, most: int, *, is_whole: bool = False) -> None:
    """At most so many ticks, at 1, 2 or 5 times a power of ten, each with its whole number."""
    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10], integer=is_whole))
    axis.set_major_formatter(ScalarFormatter(useOffset=False))


def shown_classes(layout: Layout, train: Samples) -> list[int]:
    """The numbers of the classes that a picture has room for: all, or the most frequent in train, in their order."""
    if len(layout.classes) <= MOST_CLASSES:
        return list(range(len(layout.classes)))
    counts = np.array(layout.class_counts(train)[: len(layout.classes)])
    return sorted(int(number) for number in np.argsort(-counts, kind="stable")[:MOST_CLASSES])


def class_colours(layout: Layout, train: Samples) -> dict[int, str]:
    """The colour of each class that is shown."""
    return dict(zip(shown_classes(layout, train), COLOURS, strict=False))


def draw_class_legend(figure: Figure, layout: Layout, train: Samples) -> None:
    """The meaning of the classes' colours, below all panels."""
    colours = class_colours(layout, train)
    names = [shortened(layout.classes[number]) for number in colours]
    patches = [Patch(color=colour, alpha=0.7) for colour in colours.values()]
    if len(colours) < len(layout.classes):
        names, patches = [*names, "other classes"], [*patches, Patch(color=OTHERS)]
    figure.legend(patches, names, title="class", loc="outside lower center", ncols=min(7, len(names)), frameon=False)


def bins_of(values: Array) -> Array | None:
    """Edges for a histogram: around each value if they are few and whole; None if no value is finite."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    distinct = np.unique(finite)
    if len(distinct) <= FEW_VALUES and np.all(distinct == np.round(distinct)) and np.ptp(distinct) <= 2 * FEW_VALUES:
        return np.arange(distinct[0] - 0.5, distinct[-1] + 1, 1.0)
    low, high = float(finite.min()), float(finite.max())
    if not high - low > 1e-12 * max(abs(low), abs(high)):
        return np.array([low - 0.5, low + 0.5])
    automatic = len(np.histogram_bin_edges(finite.astype(np.float64), bins="auto"))
    steps = np.diff(distinct)
    if len(distinct) <= 2 * MOST_BINS and np.allclose(steps / steps.min(), np.round(steps / steps.min()), atol=0.01):
        # values on a grid, such as 0.1, 0.2: bins with equal numbers of grid points, or their heights would vary
        width = steps.min() * np.ceil((high - low) / steps.min() / max(6, min(MOST_BINS, automatic - 1)))
        return np.arange(low - steps.min() / 2, high + width, width)
    return np.linspace(low, high, max(6, min(MOST_BINS, automatic)))


def draw_histogram(axes: Axes, values: Sequence[Array], labels: Sequence[str], colours: Sequence[str]) -> None:
    """Overlaid histograms of several arrays, each as shares of its own values."""
    edges = bins_of(np.concatenate([array.reshape(-1) for array in values]))
    if edges is None:
        axes.text(0.5, 0.5, "no finite values", ha="center", va="center", transform=axes.transAxes)
        return
    for array, label, colour in zip(values, labels, colours, strict=False):
        finite = array[np.isfinite(array)]
        if not len(finite):
            continue
        weights = np.full(len(finite), 1 / len(finite))
        axes.hist(finite, edges.tolist(), weights=weights, color=colour, alpha=0.25)
        axes.hist(finite, edges.tolist(), weights=weights, color=colour, histtype="step", linewidth=1.3, label=label)
    round_ticks(axes.yaxis, 4)
    round_ticks(axes.xaxis, 5, is_whole=bool(edges[1] - edges[0] == 1 and edges[0] % 1 == 0.5))


def draw_targets(axes: Axes, layout: Layout, parts: Sequence[Samples], *, by_class: bool = False) -> None:
    """The class balance of each part, or the distribution of the target's values.

    Args:
        by_class: classes have the colours of COLOURS, for which this panel is the legend.
    """
    known = [samples for samples in parts[:2] if samples.targets is not None]
    if not known:
        axes.set_axis_off()
        key = [Patch(color=colour, alpha=0.4) for colour in PART_COLOURS]
        axes.legend(key, [samples.part for samples in parts[:2]], title="no targets", frameon=False, loc="center")
    elif layout.has_classes:
        _draw_classes(axes, layout, known, by_class=by_class)
    else:
        values = [_first_value(samples) for samples in known]
        draw_histogram(axes, values, [samples.part for samples in known], PART_COLOURS)
        axes.set_title("target" if len(layout.outputs) < 2 else f"target: {layout.outputs[0]}")
        axes.set_xlabel("value" if layout.meaning == "value" else "difference from a known value")
        axes.set_ylabel("share of samples")
        axes.legend(framealpha=0.7, edgecolor="none")


def _draw_classes(axes: Axes, layout: Layout, parts: Sequence[Samples], *, by_class: bool) -> None:
    classes = shown_classes(layout, parts[0])
    shown = len(classes)
    height = 0.8 / len(parts)
    for number, samples in enumerate(parts):
        all_counts = layout.class_counts(samples)
        counts = [all_counts[n] for n in classes]
        places = np.arange(shown) + number * height
        colours: Any = list(class_colours(layout, parts[0]).values()) if by_class else PART_COLOURS[number]
        strength = 0.45 if by_class and number else 1.0
        bars = axes.barh(places, counts, height, color=colours, label=samples.part, alpha=strength)
        axes.bar_label(bars, [f" {count:,}" for count in counts], fontsize=7 if shown > 6 else 8)
    names = [shortened(layout.classes[n], 18) for n in classes]
    axes.set_yticks(np.arange(shown) + height * (len(parts) - 1) / 2, names)
    axes.set_ylim(shown * 1.1 if not by_class else shown, -0.5)  # downwards, with room for the legend
    axes.margins(x=0.22)
    round_ticks(axes.xaxis, 4, is_whole=True)
    what = "labels" if layout.is_per_step else "samples"
    which = "each class" if shown == len(layout.classes) else f"the {shown} largest\nof {len(layout.classes)} classes"
    axes.set_title(f"{what} of {which}")
    if by_class:
        axes.set_xlabel(" / ".join(samples.part for samples in parts) + (" (paler)" if len(parts) > 1 else ""))
    else:
        axes.set_xlabel(what)
        axes.legend(frameon=False, loc="lower right", framealpha=0.6)


def _first_value(samples: Samples) -> Array:
    assert samples.targets is not None
    return np.asarray(samples.targets.reshape(len(samples.targets), -1)[:, 0])
