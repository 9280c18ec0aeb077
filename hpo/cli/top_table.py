"""A table whose rows change: only the cells that have changed are drawn, and the cursor stays on its row."""

from __future__ import annotations

from collections.abc import Sequence

from textual.widgets import DataTable

from hpo.cli.console import Text
from hpo.cli.top_rows import Rows


class LiveTable(DataTable[Text]):
    """Rows by key."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, cursor_type="row", zebra_stripes=False)
        self._headings: list[str] = []
        self._rows: Rows = {}

    @property
    def chosen(self) -> str | None:
        """The key of the row under the cursor."""
        keys = list(self._rows)
        return keys[self.cursor_row] if 0 <= self.cursor_row < len(keys) else None

    def show(self, headings: Sequence[str], rows: Rows) -> None:
        """Bring the table up to date."""
        if list(headings) != self._headings or list(rows) != list(self._rows):
            self._lay_out(headings, rows)
            return
        for key, cells in rows.items():
            for place, (cell, before) in enumerate(zip(cells, self._rows[key], strict=True)):
                if cell.plain != before.plain or cell.style != before.style:
                    is_wider = cell.cell_len != before.cell_len
                    self.update_cell(key, str(place), cell, update_width=is_wider)
        self._rows = rows

    def _lay_out(self, headings: Sequence[str], rows: Rows) -> None:
        chosen, before = self.chosen, self.cursor_row
        if list(headings) != self._headings:
            self.clear(columns=True)
            for place, heading in enumerate(headings):
                self.add_column(Text(heading), key=str(place))
        else:
            self.clear()
        self._headings, self._rows = list(headings), rows
        for key, cells in rows.items():
            self.add_row(*cells, key=key)
        keys = list(rows)
        if keys:
            self.move_cursor(row=keys.index(chosen) if chosen in rows else min(before, len(keys) - 1), animate=False)
