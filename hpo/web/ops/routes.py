"""The routes of `/ops`."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(prefix="/ops", include_in_schema=False)
