"""What the ranks of a trial agree on."""

from __future__ import annotations

from pathlib import Path

import torch

from models.data import placement
from models.data.placement import place
from models.data.ranks import holds_on_all, of_first_rank, rank_and_count

from .ranks import on_ranks


def _decide() -> tuple[bool, bool, list[int], bool]:
    rank, _ = rank_and_count()
    placement.fits = lambda *_: rank == 0
    placed = place(torch.rand(6, 3), torch.arange(6), None, torch.device("cuda", 0))
    return (
        holds_on_all(True),
        holds_on_all(rank == 0),
        of_first_rank(torch.tensor([rank, 5])).tolist(),
        placed.is_pinned,
    )


def test_all_ranks_decide_alike(tmp_path: Path) -> None:
    assert on_ranks(_decide, tmp_path) == [(True, False, [0, 5], True)] * 2
