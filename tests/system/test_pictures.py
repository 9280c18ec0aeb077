"""The pictures of `hpo data describe` say what their colours, marks and axes mean, and stay readable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from drawn import drawn
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from recorded import measured_csv, panel_csv, recorded_npz

from hpo.training.inspection.layout import Layout, layout_of
from hpo.training.inspection.picture import figure_of
from hpo.training.inspection.samples import Samples, parts_of
from hpo.training.inspection.series import in_own_unit
from hpo.training.inspection.style import STYLE, shortened
from models.data import Images, Sequences, Series, Table


def figure(data: Any) -> Figure:
    """The picture of a data module, laid out."""
    data.setup("fit")
    parts = in_own_unit(data, parts_of(data))
    return laid_out(layout_of(data, parts), parts)


def laid_out(layout: Layout, parts: list[Samples]) -> Figure:
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        found = figure_of("study: data", layout, parts)
        FigureCanvasAgg(found).draw()  # type: ignore[no-untyped-call]
    return found


def texts(legend: Legend | None) -> list[str]:
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def titled(found: Figure, start: str) -> Axes:
    [axes] = [
        axes for axes in found.axes for side in ("center", "left") if f"{axes.get_title(side)}:".startswith(f"{start}:")
    ]
    return axes


def a_table(folder: Path, target: list[Any]) -> Table:
    noise = np.random.default_rng(0).normal(size=(len(target), 2))
    rows = [f"{a},{b},{y}" for (a, b), y in zip(noise, target, strict=True)]
    (folder / "t.csv").write_text("\n".join(["a,b,y", *rows]))
    return Table(str(folder / "t.csv"), target="y", scaling="none")


def images_of(folder: Path, classes: int) -> Images:
    pixels, _ = drawn(classes * 6)
    names = np.array([f"a species of birds in the north, number {n % classes}" for n in range(classes * 6)])
    keep = np.arange(len(names)) % (2 * classes) != 0  # the first class is the rarest
    np.savez(folder / "i.npz", x=pixels[keep, :, :, 0], y=names[keep])
    return Images(str(folder / "i.npz"))


def series_with_gaps(**options: Any) -> Series:
    chosen: dict[str, Any] = {"target": "load", "window": 8} | options
    return Series(measured_csv(), interpolation="linear", scaling="none", **chosen)


def test_the_colours_of_classes_in_a_table_have_a_legend(tmp_path: Path) -> None:
    found = figure(a_table(tmp_path, ["small", "large"] * 60))

    [legend] = found.legends
    assert legend.get_title().get_text() == "class"
    assert texts(legend) == ["large", "small"]
    shown = [patch.get_facecolor()[:3] for patch in legend.get_patches()]
    histogram = titled(found, "a")
    drawn_in = [patch.get_facecolor()[:3] for patch in histogram.patches]
    assert [drawn_in.index(colour) for colour in shown]


def test_the_colours_of_parts_in_a_table_of_values_have_a_legend(tmp_path: Path) -> None:
    found = figure(a_table(tmp_path, [row / 7 for row in range(120)]))

    assert texts(found.axes[0].get_legend()) == ["train", "validation"]
    assert not found.legends


def test_the_colours_of_the_classes_of_steps_have_a_legend() -> None:
    found = figure(Sequences(recorded_npz("step class"), labels="step", scaling="none"))

    key, legend = found.legends
    assert texts(key) == ["feature 1", "feature 2", "feature 3"]
    assert texts(legend) == ["0", "1", "2"]
    marks = {patch.get_facecolor() for axes in found.axes[:9] for patch in axes.patches}
    assert {patch.get_facecolor()[:3] for patch in legend.get_patches()} == {colour[:3] for colour in marks}


def test_ticks_are_round(tmp_path: Path) -> None:
    values = [0.3749 + row / 1e4 for row in range(120)]
    figures = [
        figure(a_table(tmp_path, values)),
        figure(a_table(tmp_path, ["a", "b", "c"] * 40)),
        figure(series_with_gaps()),
        figure(Sequences(recorded_npz("values"), scaling="none")),
    ]

    checked = 0
    for found in figures:
        for axes in found.axes:
            for axis in (axes.xaxis, axes.yaxis):
                labels = [label.get_text().replace("\u2212", "-") for label in axis.get_ticklabels()]
                if len(labels) < 3 or not all(_is_number(text) for text in labels):
                    continue
                steps = np.diff([float(text) for text in labels])
                step = float(f"{np.median(steps):.6g}")
                assert f"{step:e}"[:8] in ("1.000000", "2.000000", "5.000000"), labels
                assert not axis.get_offset_text().get_text()
                checked += 1
    assert checked > 40


def test_filled_gaps_of_a_series_are_marked() -> None:
    data = series_with_gaps(differencing="none")
    found = figure(data)

    axes = titled(found, "the series")
    assert texts(axes.get_legend()) == ["train", "validation", "gaps, filled (8)"]
    train, _, marks = axes.get_lines()
    assert np.isnan(np.asarray(train.get_ydata(), dtype=float)).sum() == 5
    assert marks.get_marker() == "|"
    assert len(marks.get_xdata()) == 8  # type: ignore[arg-type]


def test_filled_inputs_of_a_window_are_hollow() -> None:
    data = series_with_gaps(differencing="none", features="", window=60)
    found = figure(data)

    first = titled(found, "sample 1")  # from the first step, with the gap at 50
    [hollow] = [line for line in first.get_lines() if line.get_markerfacecolor() == "white"]
    assert hollow.get_xdata().tolist() == [51, 52, 53]  # type: ignore[union-attr]
    assert "filled" in texts(found.legends[0])


def test_differences_of_a_filled_value_are_filled_too() -> None:
    data = series_with_gaps(differencing="first", features="", window=60)
    data.setup("fit")

    filled = data.shown("train")["filled"]

    assert np.flatnonzero(filled[0, :, 0]).tolist() == [49, 50, 51, 52]  # windows begin one step later


@pytest.mark.parametrize(
    ("differencing", "label"),
    [("none", "value"), ("first", "difference from the step before"), ("seasonal", "difference from 24 steps before")],
)
def test_windows_say_whether_they_are_differences(differencing: str, label: str) -> None:
    found = figure(series_with_gaps(differencing=differencing, period=24))

    assert titled(found, "sample 1").get_ylabel() == label
    assert titled(found, "the series").get_ylabel() == "value"
    caption = found.get_suptitle()
    assert (f"windows of it: the {label}" in caption) == (differencing != "none")


def test_each_of_several_targets_has_its_own_line() -> None:
    data = series_with_gaps(target="load, wind", horizon=6, differencing="none")
    found = figure(data)

    targets = [line for line in titled(found, "sample 1").get_lines() if line.get_color() == "black"]
    assert len(targets) == 2
    mean, scale = np.array(data.target_mean), np.array(data.target_scale)
    values = (data.part("train").targets[0].numpy() * scale + mean).reshape(6, 2)
    for line, expected in zip(targets, values.T, strict=True):
        np.testing.assert_allclose(np.asarray(line.get_ydata()), expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(np.asarray(line.get_xdata()), np.arange(9, 15))


def test_each_of_several_series_has_its_own_line() -> None:
    data = Series(panel_csv(), id="site", target="wind", interpolation="previous", scaling="none")
    found = figure(data)
    names = data.shown("train")["names"]

    axes = titled(found, f"the {len(names)} series")
    assert texts(axes.get_legend())[: 2 + len(names)] == ["train", "validation", *names]
    lines = [line for line in axes.get_lines() if line.get_linestyle() in ("-", ":")]
    assert len(lines) == 2 * len(names)
    for line in lines:
        times = np.asarray(line.get_xdata())
        assert (np.diff(times) >= np.zeros(1, np.diff(times).dtype)).all()
    titles = [axes.get_title() for axes in found.axes if axes.get_title().startswith("sample")]
    assert {title.partition(", ")[2] for title in titles} <= set(names)


def test_a_square_window_is_no_image(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(90, 8))
    names = ",".join(f"v{n}" for n in range(8))
    rows = [f"{t}," + ",".join(map(str, row)) for t, row in enumerate(values)]
    (tmp_path / "s.csv").write_text("\n".join([f"t,{names}", *rows]))
    data = Series(str(tmp_path / "s.csv"), target="v0", window=8)
    data.setup("fit")

    assert layout_of(data, parts_of(data)).kind == "sequences"


@pytest.mark.parametrize(("classes", "shown"), [(3, 3), (12, 12), (40, 12)])
def test_many_classes_of_images_are_the_most_frequent_by_names_of_both_ends(
    tmp_path: Path, classes: int, shown: int
) -> None:
    found = figure(images_of(tmp_path, classes))

    mosaic, counts = found.axes
    names = [label.get_text() for label in mosaic.get_yticklabels()]
    assert len(set(names)) == shown
    assert all(len(name) <= 18 and name.startswith("a species") for name in names)
    assert [label.get_text() for label in counts.get_yticklabels()] == names
    is_whole = shown == classes
    assert ("images of each class" if is_whole else f"images of {shown} of {classes} classes") in found.get_suptitle()
    which = "each class" if is_whole else f"the {shown} largest\nof {classes} classes"
    assert counts.get_title() == f"samples of {which}"
    assert is_whole or not any(name.endswith("number 0") for name in names)


def test_no_label_is_drawn_over_another_panel(tmp_path: Path) -> None:
    found = figure(images_of(tmp_path, 12))

    mosaic, counts = found.axes
    labels = [label.get_window_extent() for label in counts.get_yticklabels()]
    assert min(box.x0 for box in labels) > mosaic.get_window_extent().x1
    assert min(label.get_window_extent().x0 for label in mosaic.get_yticklabels()) > 0


def test_a_name_is_shortened_in_its_middle() -> None:
    assert shortened("short") == "short"
    assert shortened("a species of birds, number 7", 12) == "a spec…ber 7"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
