"""A table of which only the lines that have changed are drawn, and whose cursor stays on its row.

Textual's own draws every visible cell anew when one has changed, which takes a tenth of a second for 64 trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from hpo.cli.top_rows import Cell, Rows

SPACE = 2  # between columns
HEAD, FOCUSED, CHOSEN = Style(bold=True, underline=True), Style(reverse=True), Style(bold=True)


class LiveTable(ScrollView, can_focus=True):
    """Rows by key, below a line of headings."""

    DEFAULT_CSS = "LiveTable { overflow-x: auto; overflow-y: auto; scrollbar-size-vertical: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", show=False),
        Binding("down", "move(1)", show=False),
        Binding("pageup", "move(-10)", show=False),
        Binding("pagedown", "move(10)", show=False),
        Binding("home", "move(-1000000)", show=False),
        Binding("end", "move(1000000)", show=False),
        Binding("enter", "choose", show=False),
    ]

    class Moved(Message):
        """The cursor is on another row."""

    class Chosen(Message):
        """Enter was pressed on a row."""

        def __init__(self, table: LiveTable) -> None:
            super().__init__()
            self.table = table

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._headings: list[str] = []
        self._rows: Rows = {}
        self._keys: list[str] = []
        self._widths: list[int] = []
        self._cursor = 0

    @property
    def chosen(self) -> str | None:
        """The key of the row under the cursor."""
        return self._keys[self._cursor] if self._cursor < len(self._keys) else None

    def show(self, headings: Sequence[str], rows: Rows) -> None:
        """Bring the table up to date."""
        chosen, before = self.chosen, self._rows
        keys = list(rows)
        widths = [
            max(map(cell_len, [name, *(row[at][0] for row in rows.values())])) for at, name in enumerate(headings)
        ]
        is_as_before = keys == self._keys and widths == self._widths and list(headings) == self._headings
        self._headings, self._rows, self._widths = list(headings), rows, widths
        if is_as_before:
            top, width = round(self.scroll_offset.y), self.size.width
            changed = [at for at, key in enumerate(keys) if rows[key] != before[key]]
            lines = [at - top + 1 for at in changed if 0 <= at - top < self.size.height - 1]
            if lines:
                self.refresh(*(Region(0, line, width, 1) for line in lines))
            return
        is_longer = len(keys) != len(self._keys)
        self._keys = keys
        self._cursor = keys.index(chosen) if chosen in rows else max(0, min(self._cursor, len(keys) - 1))
        self.virtual_size = Size(sum(widths) + SPACE * len(widths), len(keys) + 1)
        self.refresh(layout=is_longer)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._keys) + 1

    def render_line(self, y: int) -> Strip:
        left, top = self.scroll_offset
        width, row = self.size.width, top + y - 1
        if y == 0:
            strip = self._line([(heading, "") for heading in self._headings], HEAD)
        elif row < len(self._keys):
            is_chosen = row == self._cursor
            over = (FOCUSED if self.has_focus else CHOSEN) if is_chosen else Style.null()
            strip = self._line(self._rows[self._keys[row]], over)
        else:
            return Strip.blank(width, self.rich_style)
        return strip.crop_extend(left, left + width, self.rich_style)

    def _line(self, cells: Sequence[Cell], over: Style) -> Strip:
        base = self.rich_style
        segments = [
            Segment(f"{text}{' ' * (width - cell_len(text) + SPACE)}", base + _style(style) + over)
            for (text, style), width in zip(cells, self._widths, strict=True)
        ]
        return Strip(segments, sum(self._widths) + SPACE * len(self._widths))

    def action_move(self, rows: int) -> None:
        """Move the cursor by so many rows."""
        self._go_to(self._cursor + rows)

    def action_choose(self) -> None:
        """Tell that Enter was pressed."""
        self.post_message(self.Chosen(self))

    def on_click(self, event: events.Click) -> None:
        """The cursor goes to the row under the mouse."""
        if event.y > 0:
            self._go_to(self.scroll_offset.y + event.y - 1)

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def _go_to(self, row: int) -> None:
        self._cursor = max(0, min(row, len(self._keys) - 1))
        top, shown = self.scroll_offset.y, max(1, self.size.height - 1)
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False)
        elif self._cursor >= top + shown:
            self.scroll_to(y=self._cursor - shown + 1, animate=False)
        self.refresh()
        self.post_message(self.Moved())


@lru_cache(maxsize=64)
def _style(words: str) -> Style:
    return Style.parse(words)
