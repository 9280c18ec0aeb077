"""What `hpo doctor` and `hpo db check` look at: a function a check, one idea a file, each answering with findings."""

from __future__ import annotations

from hpo.checks.finding import Check, Finding, Level, Scene

__all__ = ["Check", "Finding", "Level", "Scene"]
