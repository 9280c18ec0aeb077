"""A model whose choices, and whose failure, hold markup and the controls of a terminal."""

from __future__ import annotations

from typing import Annotated

from hpo.space import Choice
from projects import nets

CHOICES = ("[/a]", "[bold]x", "\x1b[2J\u202ex")


class Line(nets.Line):
    """Fails for the last of its choices, and names it."""

    def __init__(self, kind: Annotated[str, Choice(*CHOICES)] = "[/a]") -> None:
        super().__init__()
        if kind == CHOICES[-1]:
            raise ValueError(f"no kind {kind}")
