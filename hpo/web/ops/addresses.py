"""The addresses of pages. A study's name may be anything, since other programs create studies too.

A name is quoted twice: servers decode a path once before they divide it at its slashes, and browsers leave `.` and `..`
out of paths.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

ROOT = "/ops"


def of_study(name: str, *further: object) -> str:
    """`/ops/studies/NAME`, or a page below it."""
    quoted = quote(name, safe="")
    if set(quoted) <= {"."}:
        quoted = quoted.replace(".", "%2E")
    return "/".join([ROOT, "studies", quote(quoted), *map(str, further)])


def name_in(part: str) -> str:
    """The name of a study in a path that was decoded once."""
    return unquote(part)
