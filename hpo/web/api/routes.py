"""The routes of `/api/v1`.

A study may be called anything, also with slashes: its name is what stands between `/studies/` and the rest of the path.
"""

from __future__ import annotations

from fastapi import APIRouter

from hpo.web.api import studies, trials
from hpo.web.api.route import PROBLEMS

router = APIRouter(prefix="/api/v1", responses=PROBLEMS)
router.include_router(studies.router, tags=["studies"])
router.include_router(trials.router, tags=["trials"])
router.include_router(studies.of_study, tags=["studies"])
