"""A report as Markdown: the same texts and tables, without the plots; the model card at its end.

Every text in it may be hostile: what Markdown would read as its own is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from hpo.printable import in_a_line, printable
from hpo.report.contents import Block, Code, Folded, Items, Report, Table, Text, Tiles

_MARKS = re.compile(r"[\\`*\[\]<>|~&$!#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=\w)(?=://)")  # the last: no links
_AT_BEGIN = re.compile(r"^(\d+)([.)])(?=\s|$)|^([-+=])(?=[-=\s]|$)")


def markdown_of(report: Report) -> str:
    """The text."""
    parts = [f"# {_inline(report.title)}", " · ".join(map(_inline, report.facts))]
    for section in report.sections:
        if found := [part for block in section.blocks for part in _of(block)]:
            parts += [f"## {_inline(section.title)}", *found]
    parts.append(
        f"Made by hpo-service {_inline(report.version)}. The plots are in the page that 'hpo report' makes as HTML."
    )
    return "\n\n".join(parts) + "\n"


def _of(block: Block) -> Iterator[str]:
    match block:
        case Text():
            yield from map(_inline, block.lines)
        case Items():
            if block.title:
                yield f"### {_inline(block.title)}"
            yield "\n".join(f"- {_inline(line)}" for line in block.lines)
        case Tiles():
            rows = [[tile.name, tile.value, tile.remark] for tile in block.tiles]
            yield _table(["", "value", ""], rows, frozenset({1}))
        case Table():
            if block.caption:
                yield _inline(block.caption)
            yield _table(block.headings, block.rows, block.numbers)
        case Code():
            yield _code(block)
        case Folded():
            inner = [part for one in block.blocks for part in _of(one)]
            if inner:
                yield f"### {_inline(block.title)}"
                yield from inner


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: frozenset[int]) -> str:
    lines = [headings, *rows]
    rule = "|".join("---:" if place in numbers else "---" for place in range(len(headings)))
    shown = [f"| {' | '.join(_inline(cell) for cell in line)} |" for line in lines]
    return "\n".join([shown[0], f"|{rule}|", *shown[1:]])


def _code(block: Code) -> str:
    """Between fences that are longer than any in it."""
    text = printable(block.text).rstrip("\n")
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)
    return f"{fence}{block.language}\n{text}\n{fence}"


def _inline(text: str) -> str:
    escaped = _MARKS.sub(lambda found: f"\\{found[0]}", in_a_line(text).strip())
    return _AT_BEGIN.sub(lambda found: f"{found[1]}\\{found[2]}" if found[1] else f"\\{found[3]}", escaped)
