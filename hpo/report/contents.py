"""What a report consists of: sections of texts, tables and plots, which a page and a Markdown text both show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Text:
    """Paragraphs."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Items:
    """A list.

    Attributes:
        title: above it; empty for none.
    """

    lines: Sequence[str]
    title: str = ""


@dataclass(frozen=True)
class Tile:
    """A number that the eye should fall on first.

    Attributes:
        remark: one line below it.
    """

    name: str
    value: str
    remark: str = ""
    is_main: bool = False


@dataclass(frozen=True)
class Tiles:
    """Several of them, side by side where there is room."""

    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Table:
    """A table; its first column names the rows.

    Attributes:
        numbers: the columns whose cells are numbers, by position.
        shades: of each cell, from 0 for none to 10; the cells of a matrix.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    shades: Sequence[Sequence[int]] | None = None
    caption: str = ""


@dataclass(frozen=True)
class Plot:
    """A drawing.

    Attributes:
        wide, narrow: SVG, for screens and for phones; the same where there is no narrow one.
        keys: what the colours mean: the kind of a mark, and its name.
    """

    wide: Markup
    narrow: Markup | None = None
    title: str = ""
    caption: str = ""
    keys: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Plots:
    """Small plots, side by side where there is room."""

    plots: Sequence[Plot]
    keys: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Picture:
    """A PNG image, as a URL that holds it, with what it shows."""

    url: str
    caption: str


@dataclass(frozen=True)
class Pictures:
    """Several of them, side by side where there is room.

    Attributes:
        are_large: in their own size, such as plots; otherwise as small as samples of data.
    """

    pictures: Sequence[Picture]
    are_large: bool = False


@dataclass(frozen=True)
class Code:
    """A text to copy, such as a file or commands."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Folded:
    """Blocks that can be folded away, and are so at first unless `is_open`."""

    title: str
    blocks: Sequence[Block]
    is_open: bool = False


Block = Text | Items | Tiles | Table | Plot | Plots | Pictures | Code | Folded


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        key: of its address within the page.
    """

    key: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Report:
    """A report.

    Attributes:
        facts: what stands below its title.
        version: of the hpo-service that made it.
    """

    title: str
    facts: Sequence[str]
    sections: Sequence[Section]
    version: str
