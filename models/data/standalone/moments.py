"""Texts as dates and times of the day, in the shapes that are read in one way only, or in the training's order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}(?:[.,]\d+)?))?(?:\s?(?P<half>[ap])\.?m\.?)?"
    r"|(?P<whole_hour>\d{1,2})\s?(?P<its_half>[ap])\.?m\.?"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAME = (
    r"(?P<name>Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sep(?:t|tember)?"
    r"|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)"
)
_ONE_ORDER = (
    r"(?P<year>\d{4})(?P<mark>[-/.])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})",
    r"(?P<year>\d{4})[-/](?P<month>\d{1,2})",
    rf"(?P<day>\d{{1,2}})(?:st|nd|rd|th|\.)?[ -]*{_NAME}[.,]?[ -]*(?P<year>\d{{4}})",
    rf"{_NAME}[. -]+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?,?[ -]+(?P<year>\d{{4}})",
    rf"{_NAME}[., -]+(?P<year>\d{{4}})",
)
_POINTS = r"(?P<day>\d{1,2})\.\s?(?P<month>\d{1,2})\.\s?(?P<year>\d{4})"  # the day is first
_BY_ORDER = {
    "day_first": r"(?P<day>\d{1,2})(?P<mark>[-/])(?P<month>\d{1,2})(?P=mark)(?P<year>\d{4})",
    "month_first": r"(?P<month>\d{1,2})(?P<mark>[-/])(?P<day>\d{1,2})(?P=mark)(?P<year>\d{4})",
}
_OFFSET = r"(?:\s?(?P<zone>Z|[+-]\d{2}:?\d{2}))?"
NO_MOMENT = np.datetime64("NaT", "us")


def date_of(text: str, order: str) -> Any:
    """A date, in UTC if it has an offset, as datetime64[us]; NaT where it is none that is read here."""
    shapes = [*_ONE_ORDER, *([_BY_ORDER[order]] if order in _BY_ORDER else [])]
    shapes += [] if order in ("month_first", "year_first") else [_POINTS]
    for shape in shapes:
        found = re.fullmatch(rf"(?i:{shape}(?:(?:T|,?\s+)(?:{CLOCK}|(?P<only_hour>\d{{2}})){_OFFSET})?)", text)
        if found is None:
            continue
        parts = found.groupdict()
        month = _MONTHS.index(parts["name"][:3].lower()) + 1 if parts.get("name") else int(parts["month"])
        seconds = _seconds(parts)
        try:
            day = datetime(int(parts["year"]), month, int(parts.get("day") or 1))
        except ValueError:
            return NO_MOMENT
        if seconds is None:
            return NO_MOMENT
        zone = parts["zone"] or "Z"
        offset = 0 if zone in "Zz" else int(zone[:3]) * 60 + int(zone[0] + zone[-2:])
        return np.datetime64(day + timedelta(seconds=seconds, minutes=-offset), "us")
    return NO_MOMENT


def time_of(text: str) -> Any:
    """A time of the day, on 1970-01-01, as datetime64[us]; NaT where it is none."""
    found = re.fullmatch(f"(?i:{CLOCK})", text)
    seconds = None if found is None else _seconds(found.groupdict())
    return NO_MOMENT if seconds is None else np.datetime64(datetime(1970, 1, 1) + timedelta(seconds=seconds), "us")


def moments_of(texts: Sequence[str], *, order: str, where: str) -> Any:
    """Points in time (rows,): dates, or numbers. Of numbers such as 202401 and 20240131 it is not clear which.

    Raises:
        ValueError: one is neither; the message begins with `where`.
    """
    numbers = [re.fullmatch(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", text) for text in texts]
    if all(numbers):
        if all(re.fullmatch(r"(?:18|19|20|21)\d{4}(?:\d\d)?", text) for text in texts):
            raise ValueError(f"{where}: '{texts[0]}' may be a date or a number: write dates like 2025-12-31")
        return np.array([float(text) for text in texts])
    found = np.array([date_of(text, order) for text in texts], dtype="datetime64[us]")
    wrong = np.flatnonzero(np.isnat(found))
    if len(wrong):
        raise ValueError(
            f"{where}, row {wrong[0] + 1}: '{texts[wrong[0]]}' is not read as a date here: write it like 2025-12-31 "
            "or 2025-12-31 14:30:00"
        )
    return found


def moment_texts(moments: Any) -> list[Any]:
    """How a CSV shows points in time: dates without a time where all are midnights."""
    if moments.dtype.kind != "M":
        return [float(moment) for moment in moments]
    moments = moments.astype("datetime64[us]")
    if (moments == moments.astype("datetime64[D]")).all():
        return [str(moment) for moment in moments.astype("datetime64[D]")]
    texts = [str(moment).replace("T", " ") for moment in moments]
    return [text.removesuffix(".000000") for text in texts]


def _seconds(parts: dict[str, Any]) -> float | None:
    """Since midnight; None for a time that no clock shows."""
    hour = int(parts["hour"] or parts["whole_hour"] or parts.get("only_hour") or 0)
    minute, second = int(parts["minute"] or 0), float((parts["second"] or "0").replace(",", "."))
    half = (parts["half"] or parts["its_half"] or "").lower()
    if minute >= 60 or second >= 60 or hour > 23 or (half and not 1 <= hour <= 12):
        return None
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    return hour * 3600 + minute * 60 + second
