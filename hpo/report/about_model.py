"""The sections about the final model: where it is wrong, and why."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hpo.printable import counted
from hpo.report import plots_of_model as plots
from hpo.report.contents import Block, Folded, Picture, Pictures, Plots, Section, Table, Text
from hpo.report.reading import Material
from hpo.report.words import shown, with_interval

MOST_CLASSES = 20  # of a confusion matrix
MOST_ROWS = 40  # of a table of classes or slices
MOST_PICTURES, MOST_PICTURE_LETTERS = 24, 1_000_000  # all of them together
_PNG = re.compile(r"data:image/png;base64,[A-Za-z0-9+/]+={0,2}")


def mistakes_by_kind(material: Material) -> Section | None:
    """The confusion matrix with the classes, or the residuals; None where the model was not evaluated."""
    found = material.evaluation or {}
    blocks: list[Block] = []
    if found.get("confusion"):
        blocks += _confusion(found)
    if found.get("residuals"):
        blocks += _residuals(found)
    if not blocks:
        return None
    title = "Confusion matrix" if found.get("confusion") else "Residuals"
    return Section("errors", f"{title} on the {found['part']} part", blocks)


def worst_mistakes(material: Material) -> Section | None:
    """The samples on which the model is most wrong; None where they are not known."""
    found = (material.evaluation or {}).get("mistakes")
    if not found:
        return None
    rows = [
        [
            shown(one.get("target")),
            shown(one.get("predicted")),
            shown(one.get("loss")),
            ", ".join(
                filter(
                    None, [one.get("what") or "", *(f"{k}={shown(v)}" for k, v in (one.get("values") or {}).items())]
                )
            ),
        ]
        for one in found
    ]
    pictures = [(one.get("picture"), _of_mistake(one)) for one in found]
    blocks: list[Block] = _pictures(pictures)
    table = Table(["true", "predicted", "loss", "sample"], rows, frozenset({2}))
    blocks.append(Folded("in a table", [table]) if blocks else table)
    return Section("mistakes", "Worst mistakes", blocks)


def parts_where_it_is_worse(material: Material) -> Section | None:
    """The metric by classes and by values of columns; None where that is not known."""
    found = (material.evaluation or {}).get("slices")
    if not found:
        return None
    rows = [
        [
            f"{one.get('of')}: {shown(one.get('value'))}",
            f"{one.get('samples', 0):,}",
            str(one.get("metric", "")),
            with_interval({"value": one.get("value_of_metric"), "low": one.get("low"), "high": one.get("high")}),
        ]
        for one in found
    ]
    table = Table(["samples of", "number", "metric", "value (95 % interval)"], rows[:MOST_ROWS], frozenset({1, 3}))
    more = [Text([f"and {counted(len(rows) - MOST_ROWS, 'more part')}"])] if len(rows) > MOST_ROWS else []
    return Section("parts", "Where it is better or worse", [table, *more])


def explanations(material: Material) -> Section | None:
    """What the model looks at; None where that was not asked for."""
    found = (material.evaluation or {}).get("explanations")
    if not found:
        return None
    blocks: list[Block] = []
    for one in found:
        blocks.append(Text([f"{one.get('name', '')}: {one.get('what', '')}"]))
        blocks += _pictures([(one.get("picture"), str(one.get("name", "")))], are_large=True)
        if one.get("table"):
            rows = [[shown(row.get("name")), with_interval(row)] for row in one["table"][:MOST_ROWS]]
            blocks.append(Table(["", "value (95 % interval)"], rows, frozenset({1})))
    return Section("explanations", "What the model looks at", blocks)


def _confusion(found: Mapping[str, Any]) -> list[Block]:
    counts: Sequence[Sequence[int]] = found["confusion"]
    classes = found.get("classes") or [{"name": str(number)} for number in range(len(counts))]
    names = [shown(one["name"]) for one in classes]
    wrong = [sum(row) - row[number] for number, row in enumerate(counts)]
    order = sorted(range(len(counts)), key=lambda number: -wrong[number])[:MOST_CLASSES]
    chosen = sorted(order)
    totals = [max(1, sum(row)) for row in counts]
    table = Table(
        ["true \\ predicted", *(names[number] for number in chosen)],
        [[names[row], *(f"{counts[row][column]:,}" for column in chosen)] for row in chosen],
        numbers=frozenset(range(1, 1 + len(chosen))),
        shades=[[_shade(counts[row][column], totals[row]) for column in chosen] for row in chosen],
        caption="Rows are true classes, columns predicted ones; the shade is the share of the row.",
    )
    blocks: list[Block] = [table]
    if len(chosen) < len(counts):
        blocks.append(Text([f"It shows the {len(chosen)} of {len(counts)} classes with the most mistakes."]))
    if found.get("classes"):
        worst = sorted(classes, key=lambda one: ((one.get("f1") or {}).get("value", 2.0), one["name"]))
        rows = [
            [
                shown(one["name"]),
                f"{one['targets']:,}",
                *(with_interval(one.get(key)) for key in ("f1", "precision", "recall")),
            ]
            for one in worst[:MOST_ROWS]
        ]
        headings = ["class, the worst first", "samples", "F1", "precision", "recall"]
        blocks.append(Folded("scores of the classes", [Table(headings, rows, frozenset(range(1, 5)))]))
    if (found.get("calibration") or {}).get("confidence"):
        blocks.append(Plots([plots.calibration(found["calibration"])]))
    return blocks


def _residuals(found: Mapping[str, Any]) -> list[Block]:
    residuals = found["residuals"]
    blocks: list[Block] = [Plots(plots.residuals(residuals))]
    quantiles = ", ".join(f"{float(name):.0%} {value:.4g}" for name, value in residuals.get("quantiles", {}).items())
    blocks.append(
        Text(
            [
                f"Residuals are predictions less true values: mean {residuals['mean']:.3g}, standard deviation "
                f"{residuals['deviation']:.4g}; quantiles: {quantiles}."
            ]
        )
    )
    outputs = found.get("outputs", [])
    if len(outputs) > 1:
        names = list(outputs[0]["metrics"])
        rows = [[shown(one["name"]), *(with_interval(one["metrics"].get(name)) for name in names)] for one in outputs]
        table = Table(["output", *names], rows[:MOST_ROWS], frozenset(range(1, 1 + len(names))))
        blocks.append(Folded("scores of the outputs", [table]))
    return blocks


def _shade(count: int, total: int) -> int:
    return 0 if not count else max(1, round(10 * count / total))


def _of_mistake(one: Mapping[str, Any]) -> str:
    text = f"true {shown(one.get('target'))}, predicted {shown(one.get('predicted'))}"
    return f"{text}, loss {shown(one['loss'])}" if one.get("loss") is not None else text


def _pictures(found: Sequence[tuple[Any, str]], *, are_large: bool = False) -> list[Block]:
    """Those that are PNG images, as many as a page has room for."""
    kept, letters = [], 0
    for url, caption in found[:MOST_PICTURES]:
        if isinstance(url, str) and _PNG.fullmatch(url) and letters + len(url) <= MOST_PICTURE_LETTERS:
            letters += len(url)
            kept.append(Picture(url, caption))
    return [Pictures(kept, are_large)] if kept else []
