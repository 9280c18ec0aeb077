"""A file has lists only: a constructor gets a tuple where its hint or its default is one, at any depth."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from hpo.training.build import build


class Net:
    """Keeps its arguments."""

    def __init__(
        self,
        sizes: tuple[int, ...] = (8,),
        kernel: int | tuple[int, int] = 3,
        plain: Any = (1, 2),
        rows: list[tuple[int, int]] | None = None,
        pairs: Any = ((1, 2), (3, 4)),
        optim: dict[str, Any] = {"name": "adam", "betas": (0.9, 0.99), "more": {"range": (0, 1)}},  # noqa: B006
        config: Any = Namespace(betas=(0.9, 0.99), sizes=[8]),  # noqa: B008
        listed: Any = [8],  # noqa: B006
    ) -> None:
        self.given = {name: value for name, value in locals().items() if name != "self"}


CASES: dict[str, tuple[dict[str, Any], str, Any]] = {
    "by its hint": ({"sizes": [16, 16]}, "sizes", (16, 16)),
    "by one of its hints": ({"kernel": [3, 5]}, "kernel", (3, 5)),
    "by its default": ({"plain": [3, 4]}, "plain", (3, 4)),
    "within a list": ({"rows": [[1, 2], [3, 4]]}, "rows", [(1, 2), (3, 4)]),
    "within a tuple": ({"pairs": [[5, 6], [7, 8], [9, 9]]}, "pairs", ((5, 6), (7, 8), (9, 9))),
    "an entry of a mapping": (
        {"optim.betas": [0.8, 0.9]},
        "optim",
        {"name": "adam", "betas": (0.8, 0.9), "more": {"range": (0, 1)}},
    ),
    "an entry of an entry": (
        {"optim.more.range": [2, 3]},
        "optim",
        {"name": "adam", "betas": (0.9, 0.99), "more": {"range": (2, 3)}},
    ),
    "in a whole mapping": (
        {"optim": {"betas": [0.8, 0.9], "more": {"range": [2, 3]}, "new": [1]}},
        "optim",
        {"betas": (0.8, 0.9), "more": {"range": (2, 3)}, "new": [1]},
    ),
    "an entry of a namespace": ({"config.betas": [0.8, 0.9]}, "config", Namespace(betas=(0.8, 0.9), sizes=[8])),
    "not where it is a list": ({"listed": [8, 8]}, "listed", [8, 8]),
    "not an entry that is a list": ({"config.sizes": [4]}, "config", Namespace(betas=(0.9, 0.99), sizes=[4])),
}


@pytest.mark.parametrize("case", CASES)
def test_a_list_is_a_tuple(case: str) -> None:
    arguments, name, expected = CASES[case]

    given = build(Net, arguments, Path()).given[name]

    assert given == expected
    assert repr(given) == repr(expected)
