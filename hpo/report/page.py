"""A report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere.

Every text in it may be hostile: names, values and errors come from users and from other programs. All are escaped, and
the page forbids itself whatever is not its own style.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from hpo.printable import printable
from hpo.report.contents import Plot, Report

POLICY = "default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; form-action 'none'"


def page_of(report: Report) -> str:
    """The page."""
    template, style = _template()
    return str(template.render(report=report, style=Markup(style), policy=page_policy()))  # noqa: S704


def page_policy() -> str:
    """What the page may load, which it says itself: also for the header of a server that sends it."""
    style = _template()[1]
    return POLICY.format(style=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode())


@functools.cache
def _template() -> tuple[Any, str]:
    """The template and the style, which are files beside this one."""
    folder = files("hpo.report")
    environment = Environment(autoescape=True, undefined=StrictUndefined, finalize=_as_text)
    environment.globals |= {"kind_of": lambda block: type(block).__name__, "pieces_of": _pieces}
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    return template, (folder / "page.css").read_text(encoding="utf-8")


def _pieces(cell: str) -> list[str]:
    """A number and its interval, between which a line may end on a phone."""
    number, bracket, interval = cell.partition(" (")
    return [number, f"({interval}"] if bracket else [number]


def _as_text(value: Any) -> Any:
    """Text whose controls are written out; markup of our own stays."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def picture_of(plots: Sequence[Plot]) -> str:
    """Plots one below the other, as an SVG file that needs nothing else."""
    _, style = _template()
    width, height = 960, 360
    placed = "".join(
        f'<svg y="{height * place}" width="{width}" height="{height}">{plot.wide}</svg>'
        for place, plot in enumerate(plots)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height * len(plots)}" font-family="sans-serif">'
        f'<style>{style}</style><rect width="100%" height="100%" style="fill: var(--paper)"/>{placed}</svg>\n'
    )
