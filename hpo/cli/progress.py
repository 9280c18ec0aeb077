"""How a verb that trains studies on its way tells of it: live on the screen, or in lines beside its JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpo.cli.answer import say
from hpo.cli.screen import Screen

if TYPE_CHECKING:
    from hpo.service.assembly import Search


class Progress:
    """What `finalize` and `auto` are given to train a study and to tell of it.

    Args:
        as_json: the standard output is the document, so lines go to the other one, and nothing is drawn.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._screen, self._as_json = Screen.start(verbose=False), as_json

    def say(self, line: str) -> None:
        """A line of its own."""
        if self._as_json:
            say(line, err=True)
        else:
            self._screen.say(line)

    def train(self, search: Search) -> None:
        """Train a study until it is over."""
        if self._as_json:
            search.worker.run_until_done()
            return
        with self._screen.live(search.worker, search.run):
            search.worker.run_until_done()

    def draw(self) -> None:
        """Called while a study is trained."""
        self._screen.draw()
