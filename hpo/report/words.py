"""Numbers, times and sizes as a report shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.printable import in_a_line
from hpo.results.final import Interval
from hpo.results.final_words import number_between
from hpo.space.values import label_of_value

NONE = "–"


def shown(value: Any) -> str:
    """Four significant digits for a float, a list or mapping as `[64, 64]`, a dash for none."""
    if value is None:
        return NONE
    return f"{value:.4g}" if isinstance(value, float) else in_a_line(str(label_of_value(value)))


def with_interval(found: Mapping[str, Any] | Interval | None) -> str:
    """`0.972 (0.958 to 0.986)`; a dash for none."""
    if found is None or isinstance(found, Interval):
        return NONE if found is None else number_between(found)
    if not isinstance(found.get("value"), int | float):
        return NONE
    return number_between(Interval(found["value"], found.get("low"), found.get("high")))


def span(seconds: float | None) -> str:
    """`14 s`, `3.2 min`, `5.1 h`, `2.3 days`."""
    if seconds is None:
        return NONE
    for unit, length, most in (("s", 1.0, 120.0), ("min", 60.0, 7200.0), ("h", 3600.0, 48 * 3600.0)):
        if seconds < most:
            return f"{seconds / length:.3g}\N{NO-BREAK SPACE}{unit}"
    return f"{seconds / 86400:.3g}\N{NO-BREAK SPACE}days"


def device_hours(seconds: float) -> str:
    """`0.42 device-hours`."""
    return f"{seconds / 3600:.3g} device-hours"


def share(part: float, whole: float) -> str:
    """`12 %`."""
    return f"{100 * part / whole:.0f} %" if whole else NONE


def shortened(text: str, most: int) -> str:
    """A name short enough for its place: names often differ at their end, so both ends are kept."""
    if len(text) <= most:
        return text
    end = (most - 1) // 2
    return f"{text[: most - 1 - end]}…{text[len(text) - end :]}"
