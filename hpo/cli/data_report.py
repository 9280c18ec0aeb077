"""What `hpo data describe` prints for people."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from hpo.cli.console import Console, Text, console
from hpo.cli.tables import number, params_in_words

MOST_FEATURES = 30  # rows; the rest in one sentence
MOST_CLASSES = 20
WIDTH_OF_TEXT = 110

HOLDS = {"table": "a table", "images": "images", "sequences": "sequences", "arrays": "arrays"}
TASKS = {
    "binary": "one of two classes to predict (binary)",
    "multiclass": "one of several classes to predict (multiclass)",
    "regression": "values to predict (regression)",
    "none": "no targets",
}


def show_data(document: Mapping[str, Any]) -> None:
    """Print the facts, the warnings last, where they are seen."""
    out = console()
    given = document["data"]
    _print(out, f"{given['class']} ({params_in_words(_worth_saying(given['arguments']))})")
    for name, value in given["changed"].items():
        _print(out, f"  looked at with {name}={value}, in the data's own unit")
    _print(out, f"{HOLDS[document['holds']]}; {TASKS[document['task']]}; the test part was not touched")
    out.print(_parts(document["parts"]))
    if any(part.get("classes") for part in document["parts"]):
        out.print(_classes(document["parts"]))
    _print_features(out, document)
    _print_list(out, "the first samples of train", document["examples"])
    _print_list(out, "the data module says", [f"{name}: {_said(value)}" for name, value in document["facts"].items()])
    _print_list(out, "noticed", document["remarks"])
    if document["warnings"]:
        _print_list(
            out, f"{len(document['warnings'])} to look at", [f["text"] for f in document["warnings"]], mark="! "
        )
    else:
        _print(
            out, "nothing suspicious: no leak, no duplicates across parts, no constant column, no gap in the classes"
        )
    _print(out, f"picture: {_near(document['picture'])}")


def _worth_saying(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Without those that are left empty."""
    return {name: value for name, value in arguments.items() if value not in ("", None)}


def _parts(parts: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    has_lengths = any("lengths" in part for part in parts)
    for heading in ("part", "samples", "batches", "missing"):
        table.add_column(heading, justify="left" if heading == "part" else "right", no_wrap=True)
    for heading in ("inputs", "targets", *(["steps"] if has_lengths else [])):
        table.add_column(heading)
    for part in parts:
        seen, total = part["looked_at"], part["samples"]
        samples = f"{total:,}" if total is not None else f"{seen:,} or more"
        if total is not None and seen != total:
            samples += f" ({seen:,} looked at)"
        cells = [part["part"], samples, number(part["batches"]), f"{part['missing']:,}"]
        cells.append("; ".join(_shape(shape, len(part["inputs"]) > 1) for shape in part["inputs"]))
        cells.append(_shape(part["targets"], False) if part["targets"] else "none")
        if has_lengths:
            steps = part["lengths"]
            same = steps["shortest"] == steps["longest"]
            cells.append(
                str(steps["longest"])
                if same
                else f"{steps['shortest']} to {steps['longest']}, median {steps['median']:g}"
            )
        table.add_row(*map(Text, cells))
    return table


def _shape(shape: Mapping[str, Any], with_name: bool) -> str:
    sizes = " x ".join(map(str, shape["shape"])) or "one"
    return f"{shape['name'] + ': ' if with_name else ''}{sizes} {shape['type']}"


def _classes(parts: Sequence[Mapping[str, Any]]) -> Table:
    """A row a class: how many samples of it each part has, and which share of the part that is."""
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("class")
    counted = [part for part in parts if part.get("classes")]
    for part in counted:
        table.add_column(part["part"], justify="right")
    names = list(counted[0]["classes"])
    sums = [max(1, sum(part["classes"].values())) for part in counted]
    for name in names[:MOST_CLASSES]:
        counts = [part["classes"].get(name, 0) for part in counted]
        cells = [f"{count:,} ({count / total:.1%})" for count, total in zip(counts, sums, strict=True)]
        table.add_row(Text(name), *cells)
    if len(names) > MOST_CLASSES:
        table.add_row(f"and {len(names) - MOST_CLASSES} more")
    return table


def _print_features(out: Console, document: Mapping[str, Any]) -> None:
    features = list(document["features"])
    train = document["parts"][0]
    table = Table(box=SIMPLE, pad_edge=False)
    heading = {"table": "column", "images": "channel", "sequences": "feature", "arrays": "input"}[document["holds"]]
    table.add_column(f"{heading} ({train['part']})")
    for name in ("missing", "least", "most", "mean", "std", "distinct"):
        table.add_column(name, justify="right", no_wrap=True)
    for feature in features[:MOST_FEATURES]:
        table.add_row(Text(feature["name"]), *_numbers(feature))
    if len(features) > MOST_FEATURES:
        rest = features[MOST_FEATURES:]
        table.add_row(Text(f"and {len(rest)} more"), *_numbers(_together(rest)))
    for value in train.get("values", []):
        table.add_row(Text(f"-> {value['name']}"), *_numbers(value))
    out.print(table)


def _numbers(feature: Mapping[str, Any]) -> list[str]:
    return [_figure(feature.get(name)) for name in ("missing", "min", "max", "mean", "std", "distinct")]


def _figure(value: Any) -> str:
    """Four significant digits; all of those before the point, where they are not too many to read."""
    if isinstance(value, float | int) and not isinstance(value, bool) and 1e4 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return number(value)


def _together(features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Many features in one row: their missing values, and the range of all."""
    known = [feature for feature in features if feature.get("min") is not None and feature.get("max") is not None]
    together: dict[str, Any] = {"missing": sum(feature["missing"] for feature in features)}
    if known:
        together |= {"min": min(f["min"] for f in known), "max": max(f["max"] for f in known)}
    return together


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_said(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or "none"
    return number(value)


def _print_list(out: Console, heading: str, lines: Sequence[str], *, mark: str = "- ") -> None:
    if not lines:
        return
    _print(out, f"{heading}:")
    width = min(WIDTH_OF_TEXT, out.width)
    for line in lines:
        for paragraph in textwrap.wrap(line, width, initial_indent=f"  {mark}", subsequent_indent="    "):
            _print(out, paragraph)
    _print(out, "")


def _print(out: Console, line: str) -> None:
    """As it is: brackets in a name are no markup."""
    out.print(Text(line))


def _near(picture: str) -> str:
    """The path as a person in this folder would type it."""
    path = Path(picture)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
