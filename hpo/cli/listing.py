"""A listing of thousands of rows in a second: aligned columns, and a note beside each row or below it.

Rich's tables measure, wrap and style every cell, which takes minutes for as many.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from rich.cells import cell_len, chop_cells

from hpo.cli.answer import say
from hpo.cli.console import Console, Text
from hpo.printable import printable

LEFT_ALIGNED = ("study", "state", "device", "trained")
SPACE = 2  # characters between columns, and before what stands below a row


def print_listing(
    headings: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[Sequence[str]], out: Console, *, about: str
) -> None:
    """Print a line a row, with its note at its end where all have room, and else below it.

    Args:
        notes: one a row, in pieces; a line ends between two of them, unless one alone is too long for a line.
        about: what the notes are.
    """
    lines = list(_aligned([headings, *rows]))
    words = [[printable(piece) for piece in note] for note in notes]
    widest = max(map(_width, lines)) + SPACE
    if widest + max((_width(" ".join(note)) for note in words), default=0) <= out.width:
        head, *whole = (
            f"{line}{' ' * (widest - _width(line))}{' '.join(note)}".rstrip()
            for line, note in zip(lines, [[about], *words], strict=True)
        )
    else:
        indent = " " * (len(headings[0]) + SPACE)
        head, room = f"{lines[0]}\n{indent}{about}", max(1, out.width - len(indent))
        pairs = zip(lines[1:], words, strict=True)
        whole = [text for line, note in pairs for text in (line, *_packed(note, room, indent))]
    out.print(Text(f"\n{head}", style="bold"))
    say("\n".join([*whole, ""]))


def print_named_rows(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    out: Console,
    *,
    narrower: tuple[Sequence[str], Sequence[Sequence[str]]],
) -> None:
    """Print a line a row, whose first cell is a name; a name that is longer than there is room takes several lines.

    Args:
        narrower: headings and rows with fewer columns, for a terminal that has no room for the names beside all.
    """
    names = [headings[0], *(row[0] for row in rows)]
    longest = max(map(_width, names))
    cells = list(_aligned([headings[1:], *(row[1:] for row in rows)]))
    if longest + SPACE + max(map(_width, cells)) > out.width:
        cells = list(_aligned([narrower[0][1:], *(row[1:] for row in narrower[1])]))
    room = min(longest, max(len(headings[0]), out.width - SPACE - max(map(_width, cells))))
    lines = []
    for name, numbers in zip(names, cells, strict=True):
        first, *rest = chop_cells(name, room) or [""]
        lines += [f"{first}{' ' * (room - _width(first) + SPACE)}{numbers}", *rest]
    out.print(Text(f"\n{lines[0]}", style="bold"))
    say("\n".join([*lines[1:], ""]))


def print_columns(
    headings: Sequence[str], rows: Sequence[Sequence[str]], out: Console, *, left: Collection[str]
) -> None:
    """Print a line a row; where there is no room, the first column, and the others below it by their names.

    Args:
        left: the headings of columns that are aligned to the left.
    """
    head, *whole = _aligned([headings, *rows], left)
    if max(map(_width, [head, *whole])) <= out.width:
        out.print(Text(f"\n{head}", style="bold"))
        say("\n".join([*whole, ""]))
        return
    notes = [[f"{name}={cell}" for name, cell in zip(headings[1:], row[1:], strict=True)] for row in rows]
    print_listing(headings[:1], [row[:1] for row in rows], notes, out, about=", ".join(headings[1:]))


def _aligned(rows: Sequence[Sequence[str]], left: Collection[str] = LEFT_ALIGNED) -> Iterator[str]:
    """A line a row, the first one being the headings."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    is_left = [heading in left for heading in rows[0]]
    for row in rows:
        cells = []
        for cell, width, goes_left in zip(row, widths, is_left, strict=True):
            space = " " * (width - _width(cell))
            cells.append(cell + space if goes_left else space + cell)
        yield (" " * SPACE).join(cells).rstrip()


def _packed(pieces: Sequence[str], room: int, indent: str) -> Iterator[str]:
    """The pieces in lines of this many columns."""
    line, used = "", 0
    for piece in pieces:
        width = _width(piece)
        if used and used + 1 + width > room:
            yield indent + line
            line, used = "", 0
        if width > room:  # so is its line empty
            *whole, piece = chop_cells(piece, room)
            yield from (indent + part for part in whole)
            width = _width(piece)
        line, used = (f"{line} {piece}", used + 1 + width) if used else (piece, width)
    if line:
        yield indent + line


def _width(text: str) -> int:
    """In columns of a terminal."""
    return len(text) if text.isascii() else cell_len(text)
