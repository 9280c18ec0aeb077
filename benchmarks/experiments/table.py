"""The result of an experiment: a Markdown table that marks broken promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        broken: the promises that it breaks, as texts.
    """

    cells: tuple[str, ...]
    broken: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """The output of one experiment."""

    header: tuple[str, ...]
    rows: Sequence[Row]

    @property
    def is_kept(self) -> bool:
        return not any(row.broken for row in self.rows)

    def __str__(self) -> str:
        lines = [_line(self.header), "|" + "---|" * len(self.header)]
        for row in self.rows:
            lines.append(_line(row.cells) + (f" **BROKEN: {'; '.join(row.broken)}** |" if row.broken else ""))
        return "\n".join(lines)


def promise(what: str, measured: float, most: float, *, unit: str = "", digits: int = 0, note: str = "") -> Row:
    """A figure that may not be larger than promised."""
    cells = (what, f"{measured:.{digits}f}{unit}{note}", f"at most {most:g}{unit}")
    return Row(cells, () if measured <= most else (f"{measured:.{digits}f} is more than {most:g}",))


def exactly(what: str, measured: object, promised: object) -> Row:
    """A figure that must equal the promised one."""
    return Row((what, str(measured), str(promised)), () if measured == promised else (f"{measured} is not {promised}",))


def figure(what: str, measured: str) -> Row:
    """A figure without a promise."""
    return Row((what, measured, ""))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
