"""Plots as SVG: marks lie where their values are, and what has no place is left out or said to be."""

from __future__ import annotations

import math
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from hpo.report.axes import Axis, axes_of_parameters, axis_of_numbers, axis_of_objective
from hpo.report.parallel import Group, one_below_the_other, side_by_side
from hpo.report.svg import Drawing
from hpo.space import Choice, Float, Int, Parameter, SearchSpace
from hpo.study.states import Direction


def test_a_value_lies_in_its_proportion_on_linear_and_logarithmic_axes() -> None:
    assert Axis("x", 0.0, 4.0).at(1) == 0.25
    assert Axis("x", 1e-4, 1.0, is_log=True).at(0.01) == pytest.approx(0.5)
    assert Axis("x", choices=("adam", "sgd")).at("sgd") == 0.75
    assert Axis("x", choices=(True, 1)).at(1) == 0.75  # true is not one
    assert Axis("x", choices=("[64, 64]", "[8]")).at([8]) == 0.75


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "text", True])
def test_what_is_no_finite_number_has_no_place_on_an_axis_of_numbers(value: Any) -> None:
    assert Axis("x").at(value) is None


def test_ticks_are_round_numbers_written_alike() -> None:
    assert [text for _, text in Axis("x", 0.84, 1.0).ticks(4)] == ["0.85", "0.90", "0.95", "1.00"]
    assert [text for _, text in Axis("x", 1e-5, 0.1, is_log=True).ticks(5)] == [
        "1e-5",
        "0.0001",
        "0.001",
        "0.01",
        "0.1",
    ]
    assert [text for _, text in Axis("x", 0, 3, is_whole=True).ticks(9)] == ["0", "1", "2", "3"]
    assert len(Axis("x", choices=tuple(range(100))).ticks(5)) <= 5


@pytest.mark.parametrize("direction", list(Direction))
def test_a_value_that_is_far_worse_than_all_others_does_not_press_them_together(direction: Direction) -> None:
    sign = 1 if direction == Direction.MINIMIZE else -1
    values = [sign * (1 + place / 100) for place in range(50)]

    axis = axis_of_objective("loss", [*values, sign * 1e12], direction)

    assert all(axis.low <= value <= axis.high for value in values)
    assert abs(axis.high - axis.low) < 5


def test_the_axis_of_a_parameter_is_that_of_its_range_or_else_of_its_values() -> None:
    space = SearchSpace(
        (
            Parameter("lr", Float(1e-4, 1e-1, log=True)),
            Parameter("depth", Int(1, 4)),
            Parameter("act", Choice("a", "b")),
        )
    )
    points = [{"lr": 0.01, "depth": 2, "act": "a", "other": 1e-6}, {"other": 3.0}, {"mixed": "x"}, {"mixed": 1}]

    axes = axes_of_parameters(["lr", "depth", "act", "other", "mixed"], points, space)

    assert axes["lr"].is_log
    assert axes["lr"].low < 1e-4 < 1e-1 < axes["lr"].high
    assert axes["depth"].is_whole
    assert axes["act"].choices == ("a", "b")
    assert axes["other"].is_log  # of values so far apart
    assert axes["mixed"].choices == (1, "x")


def drawn(*values: float) -> str:
    drawing = Drawing(
        300, 200, axis_of_numbers("<x>", [0.0, 1.0]), axis_of_numbers("y & z", [0.0, 1.0]), label='"a" <b>'
    )
    drawing.dots([(0.5, value) for value in values], "k-whole")
    drawing.named_dots([((0.1, 0.1), "</title><script>x")], "k-best")
    drawing.line([(0.0, 0.0), (0.5, math.nan), (1.0, 1.0)], "k-best")
    return str(drawing.svg())


def test_a_drawing_is_valid_xml_whatever_its_texts_are() -> None:
    tree = ElementTree.fromstring(drawn(0.5))

    assert tree.attrib["aria-label"] == '"a" <b>'
    assert {"<x>", "y & z"} <= {element.text for element in tree.iter() if element.text}
    assert [element.tag for element in tree.iter() if element.tag == "script"] == []


def test_a_line_is_broken_where_a_value_is_missing_and_a_dot_is_left_out() -> None:
    text = drawn(0.5, math.nan)

    [line] = re.findall(r'class="line k-best"[^>]* d="([^"]*)"', text)
    [dots] = re.findall(r'class="dot k-whole"[^>]* d="([^"]*)"', text)
    assert line.count("M") == 2
    assert dots.count("M") == 1


def test_a_dot_beyond_the_vertical_axis_lies_at_its_end() -> None:
    [beyond] = re.findall(r'class="dot k-whole"[^>]* d="([^"]*)"', drawn(-1e300))
    [at_end] = re.findall(r'class="dot k-whole"[^>]* d="([^"]*)"', drawn(-0.04))

    assert beyond == at_end


@pytest.mark.parametrize("number", [2, 3, 12])
def test_a_line_of_parallel_coordinates_passes_every_axis_that_it_has_a_value_for(number: int) -> None:
    axes = [Axis(f"<x{place}>", 0.0, 1.0) for place in range(number)]
    groups = [Group("k-whole", [[0.5] * number, [0.1, *[None] * (number - 2), 0.1]], 1.0)]

    for svg in (side_by_side(900, 300, axes, groups), one_below_the_other(300, axes, groups)):
        tree = ElementTree.fromstring(str(svg))
        [path] = [element for element in tree.iter("path") if "k-whole" in element.attrib["class"]]
        whole, broken = re.findall(r"M[^M]*", path.attrib["d"])[0], number > 2
        assert whole.count("L") == number - 1
        assert path.attrib["d"].count("M") == (3 if broken else 2)
