"""The proposals of several workers for a study; as a program (URL SAMPLER ...), in a new process."""

from __future__ import annotations

import json
import sys
from typing import Any

from hpo.search.grid import grid_points
from hpo.store import Store
from projects.synthetic import GRID, SPACE, Claimant, create_study


def propose(store: Store, sampler: str, count: int, *, name: str, seed: int = 0, workers: int = 2) -> list[Any]:
    """The parameters of `count` trials of a new study, by number: every worker claims before any of them samples."""
    grid = list(grid_points(GRID)) if sampler == "grid" else None
    study = create_study(
        store, GRID if grid else SPACE, study=name, sampler=sampler, seed=seed, budget={"trials": count}
    )
    claimants = [Claimant(store, study) for _ in range(workers)]
    proposed: list[Any] = []
    while len(proposed) < count:
        claims = [claim for claim in (claimant.claim() for claimant in claimants) if claim is not None]
        for claimant, claim in zip(claimants, claims, strict=False):
            proposed.append(claimant.begin(claim, point=grid[claim.number] if grid else None))
        for claimant, claim in zip(claimants, claims, strict=False):
            claimant.finish(claim, 1 / (1 + abs(proposed[claim.number]["depth"] - 3)))
    return proposed


if __name__ == "__main__":
    with Store.create(sys.argv[1]) as new_store:
        json.dump({name: propose(new_store, name, 12, name=name) for name in sys.argv[2:]}, sys.stdout)
