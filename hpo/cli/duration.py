"""Times for people."""

from __future__ import annotations

# Of times this close to each other, the middle is shown.
CLOSE = 1.25


def between(least: float, most: float) -> str:
    """`42 s`, or `42 s to 3 min 20 s` where it is not known better."""
    if most <= CLOSE * least or round(most) <= round(least) + 1:
        return duration((least + most) / 2)
    return f"{duration(least)} to {duration(most)}"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
