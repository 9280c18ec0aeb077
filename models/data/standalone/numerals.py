"""Numbers as people write them: with separators of thousands, decimal commas, currency and percent signs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

_CODES = "USD|EUR|GBP|CHF|JPY|CNY|INR|KRW|BRL|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|TRY|MXN|ZAR|SGD|HKD"
UNIT = rf"(?:US|[A-Z])?\$|[$\u00a2-\u00a5\u0e3f\u20a0-\u20c0]|{_CODES}|%"  # Unicode's currency signs, codes, percent
WRITTEN = (
    rf"(?P<bracket>\()?(?P<minus>[-+\u2212])?\s*(?P<before>{UNIT})?\s*(?P<inner_minus>[-+\u2212])?"
    rf"(?P<digits>[.,]?\d(?:[\d.,'\u2019\s]*\d)?(?:[eE][-+]?\d+)?)\s*(?P<after>{UNIT})?(?(bracket)\))"
)
SEPARATORS = (",", ".", " ", "'")

_PLAIN = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_INFINITE = r"(?i:[-+]?inf(?:inity)?)"


def plain_number(text: str, decimal: str) -> float | None:
    """A text of digits, a sign and the decimal point; None for another one."""
    if decimal != ".":
        text = "" if "." in text else text.replace(decimal, ".")
    return float(text) if re.fullmatch(_PLAIN, text) or re.fullmatch(_INFINITE, text) else None


def written_numbers(texts: Sequence[str], *, decimal: str, thousands: str, where: str) -> list[float | None]:
    """Texts that are more than plain digits as numbers; None where one is no number, and for all if most are none.

    Raises:
        ValueError: they are of several currencies, or in part percentages; the message begins with `where`.
    """
    found = [_written(text, decimal, thousands) for text in texts]
    if sum(each is not None for each in found) < len(found) / 2:
        return [None] * len(found)
    units = {each[1] for each in found if each is not None}
    if len(units - {""}) > 1 or ("%" in units and "" in units):
        raise ValueError(f"{where} has several units: {', '.join(sorted(unit or 'none' for unit in units))}")
    return [None if each is None else each[0] for each in found]


def _written(text: str, decimal: str, thousands: str) -> tuple[float, str] | None:
    """A number and its unit."""
    parts = re.fullmatch(WRITTEN, text)
    if parts is None or (parts["before"] and parts["after"]):
        return None
    digits = re.sub(r"\s", " ", parts["digits"]).replace("\u2019", "'")
    marks = [thousands] if thousands else [mark for mark in SEPARATORS if mark != decimal and mark in digits]
    value = _grouped(digits, marks[0] if marks else "", decimal)
    if value is None:
        return None
    is_negative = {parts["minus"], parts["inner_minus"]} & {"-", "\u2212"} or parts["bracket"]
    return -value if is_negative else value, parts["before"] or parts["after"] or ""


def _grouped(digits: str, mark: str, decimal: str) -> float | None:
    """Groups of three digits, or as in India of two and at last three."""
    point, between = re.escape(decimal), re.escape(mark)
    groups = rf"|[1-9]\d{{0,2}}(?:{between}\d{{3}})+|[1-9]\d?(?:{between}\d{{2}})+{between}\d{{3}}" if mark else ""
    if not re.fullmatch(rf"(?:(?:\d*{groups})(?:{point}\d+)?|\d+{point})(?:[eE][-+]?\d+)?", digits):
        return None
    return float((digits.replace(mark, "") if mark else digits).replace(decimal, "."))


def numbers_without_gaps(texts: Sequence[str], *, decimal: str, thousands: str, where: str) -> Any:
    """Numbers (rows,) of a column in which every cell that is not empty is one; NaN for an empty cell.

    Raises:
        ValueError: one is none; the message begins with `where`.
    """
    found = [np.nan if text == "" else plain_number(text, decimal) for text in texts]
    others = [row for row, value in enumerate(found) if value is None]
    read = written_numbers([texts[row] for row in others], decimal=decimal, thousands=thousands, where=where)
    for row, value in zip(others, read, strict=True):
        if value is None:
            raise ValueError(f"{where}, row {row + 1}: '{texts[row]}' is not a number")
        found[row] = value
    return np.array(found, dtype=np.float64)
