"""Texts as dates and times, in the only order of day, month and year that fits all of a column."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pandas as pd

from models.data.months import in_english
from models.data.standalone.moments import CLOCK

DateOrder = Literal["auto", "day_first", "month_first", "year_first"]
ORDERS = ("auto", "day_first", "month_first", "year_first")
ADVICE = "or give {date_order: day_first} or {date_order: month_first}"
CLOCK_DAY = pd.Timestamp("1970-01-01")  # of times without a date

_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sep(?:t|tember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)"
)
_WEEKDAY = r"(?:(?:Mon|Tues?|Wed(?:nes)?|Thu(?:rs?)?|Fri|Sat(?:ur)?|Sun)(?:day)?[.,]?\s+)?"
# The shapes of dates, with the formats of their words: each shape has one separator, and ends where the time begins.
_SHAPES = {
    r"\d{4}-\d{1,2}-\d{1,2}|\d{4}/\d{1,2}/\d{1,2}|\d{4}\.\d{1,2}\.\d{1,2}": ("%Y %m %d",),
    r"\d{1,2}\.\s?\d{1,2}\.\s?\d{4}": ("%d %m %Y",),
    r"\d{1,2}/\d{1,2}/\d{4}|\d{1,2}-\d{1,2}-\d{4}": ("%d %m %Y", "%m %d %Y"),
    r"\d{1,2}\.\d{1,2}\.\d{2}": ("%d %m %y",),
    r"\d{1,2}/\d{1,2}/\d{2}": ("%d %m %y", "%m %d %y"),
    r"\d{1,2}-\d{1,2}-\d{2}": ("%d %m %y", "%m %d %y", "%y %m %d"),
    rf"\d{{1,2}}(?:st|nd|rd|th|\.)?[ -]*{_MONTH}[.,]?[ -]*\d{{4}}": ("%d %b %Y",),
    rf"\d{{1,2}}(?:st|nd|rd|th|\.)?[ -]*{_MONTH}[.,]?[ -]*\d{{2}}": ("%d %b %y",),
    rf"{_MONTH}[. -]+\d{{1,2}}(?:st|nd|rd|th)?,?[ -]+\d{{4}}": ("%b %d %Y",),
    rf"\d{{4}}[ -]+{_MONTH}[. -]+\d{{1,2}}": ("%Y %b %d",),
    rf"{_MONTH}[., -]+\d{{4}}": ("%b %Y",),
    rf"{_MONTH}[ -]\d{{2}}": ("%b %y",),
    r"\d{4}[ -]?Q\d|Q\d[ -]?\d{4}": ("%Y %m",),
    r"\d{4}[-/]\d{1,2}": ("%Y %m",),
    r"\d{1,2}/\d{4}": ("%m %Y",),
}
_ORDER_OF = {"d": "day_first", "m": "month_first", "b": "month_first", "y": "year_first", "Y": "year_first"}
TWO_ORDERS = frozenset(form for forms in _SHAPES.values() for form in forms if len(forms) > 1)
_DATE = "|".join(_SHAPES)
_WHOLE = rf"(?i:{_WEEKDAY}(?P<date>{_DATE})(?:(?:T|,?\s+)(?:{CLOCK}))?)"
_LOOKS_LIKE_ISO = r"\d{4}-\d{1,2}-\d{1,2}[T ].*"
_OFFSET = r"(?:Z|[+-]\d{2}:?\d{2})$"


def check_order(order: str, *, who: str) -> None:
    """
    Raises:
        ValueError: there is no such order.
    """
    if order not in ORDERS:
        raise ValueError(f"{who}: date_order '{order}' should be one of {', '.join(ORDERS)}")


def look_like_dates(texts: pd.Series) -> pd.Series:
    """Which of the texts are written as dates are, of whatever order (rows,)."""
    different = texts.drop_duplicates()
    try:
        english = in_english(different)
    except ValueError:  # which `dates` raises too
        return pd.Series(True, index=texts.index)
    is_date = (english.str.fullmatch(_LOOKS_LIKE_ISO) | english.str.fullmatch(_WHOLE)).astype(bool)
    return texts.isin(different[is_date])


def dates(
    known: pd.Series, *, who: str, order: str = "auto", advice: str = "", remedy: Callable[[str], str] | None = None
) -> pd.Series:
    """Texts as datetime64[us], in UTC if they have an offset; a warning tells the century of years of two digits.

    Args:
        order: that of the columns that may have the day or the month first.
        advice: other remedies for texts that have two orders.
        remedy: that for a text that is no date; ends the message on it.

    Raises:
        ValueError: one is not a date, or two orders fit; the message begins with `who`.
    """
    known = known.astype(object)
    form, reading = _chosen(known, who=who, order=order, advice=advice, remedy=remedy)
    if "%y" in form:
        warnings.warn(
            f"{who}: column '{known.name}' has years of two digits, such as '{known.iloc[0]}': they are read as "
            f"{reading.min().year} to {reading.max().year}",
            stacklevel=2,
        )
    return in_utc(reading)


def order_of(column: pd.Series, order: str = "auto") -> str:
    """The order in which `dates` reads a column's texts; empty where each of them can be read in one order only.

    Args:
        order: as given to `dates`.
    """
    known = column.dropna().astype(str).str.strip().drop_duplicates()
    try:
        form, _ = _chosen(known[~_is_iso(known)], who="", order=order, advice="", remedy=None)
    except ValueError:
        return ""
    return _ORDER_OF[form[1]] if form in TWO_ORDERS else ""


def read_in_order(known: pd.Series, order: str, *, who: str) -> pd.Series:
    """Texts as datetime64[us], each by itself; NaT where one is no date.

    Args:
        order: that of the column that the model learnt from, for texts that have several; empty: it is not known.

    Raises:
        ValueError: one has its parts in another order, or may have several and the order is not known.
    """
    known = known.astype(object)
    found = pd.to_datetime(known.where(_is_iso(known)), format="ISO8601", errors="coerce", utc=True).dt.tz_localize(
        None
    )
    rest = known[found.isna()]
    if not len(rest):
        return found.astype("datetime64[us]")
    try:
        readings = _readings(in_english(rest))
    except ValueError:  # a month in no language that is known
        return found.astype("datetime64[us]")
    order = order or order_of(rest)
    plain = [reading for form, reading in readings.items() if form not in TWO_ORDERS]
    several = {form: reading for form, reading in readings.items() if form in TWO_ORDERS}
    mine = [reading for form, reading in several.items() if _ORDER_OF[form[1]] == order]
    others = [reading for form, reading in several.items() if _ORDER_OF[form[1]] != order]
    chosen = _first_of([*plain, *mine], rest)
    strange = chosen.isna() & _first_of(others, rest).notna()
    if strange.any():
        text, is_known = rest[strange].iloc[0], bool(order)
        trained = f"in the training the {order.replace('_', ' is ')}" if is_known else "the order is not known"
        raise ValueError(
            f"{who}: column '{known.name}': {trained}, but '{text}' in row {rest[strange].index[0] + 1} "
            f"{'has' if is_known else 'may have'} another order. Write dates like 2025-12-31"
        )
    return found.fillna(chosen.reindex(known.index)).astype("datetime64[us]")


def look_like_times(texts: pd.Series) -> pd.Series:
    """Which of the texts are written as a time of the day is, such as 14:30 or 2:30 PM (rows,)."""
    different = texts.drop_duplicates()
    return texts.isin(different[different.str.fullmatch(f"(?i:{CLOCK})").astype(bool)])


def times_of_day(known: pd.Series, *, who: str, remedy: Callable[[str], str]) -> pd.Series:
    """Texts such as 14:30 as datetime64[us] on CLOCK_DAY.

    Args:
        remedy: that for a text that is no time; its message.

    Raises:
        ValueError: one is no time of a day; the message begins with `who`.
    """
    parts = known.astype(object).str.extract(f"^(?i:{CLOCK})$")
    found = (CLOCK_DAY + _clock(parts)).mask(parts[["hour", "whole_hour"]].isna().all(axis=1))
    wrong = known[found.isna()]
    if len(wrong):
        others = f", and {len(wrong) - 1} more such value{'s' * (len(wrong) > 2)}" if len(wrong) > 1 else ""
        raise ValueError(
            f"{who}: column '{known.name}' holds times of the day, but '{wrong.iloc[0]}' in row {wrong.index[0] + 1} "
            f"is none{others}{remedy(str(wrong.iloc[0]))}; or, if these are durations, write them as numbers, such as "
            "of minutes"
        )
    times: pd.Series = found.astype("datetime64[us]")
    return times


def wall_clock(known: pd.Series) -> pd.Series | None:
    """Times without their offset from UTC, as a clock on the wall showed them; None if they have one offset or none."""
    texts = known.astype(object)
    offsets = texts.str.extract(rf"({_OFFSET})")[0]
    if offsets.isna().any() or offsets.nunique() < 2:
        return None
    return in_utc(pd.to_datetime(texts.str.replace(_OFFSET, "", regex=True).str.strip(), format="ISO8601"))


def compact_dates(numbers: pd.Series) -> pd.Series | None:
    """Numbers such as 202401 or 20240131 as dates; None unless all are months, or all are days.

    Of more than twelve numbers that count up, one would be no month, and of more than 31 one no day.
    """
    values = numbers.to_numpy(dtype=np.float64)
    if len(values) < 2 or not (np.isfinite(values) & (values == values.round())).all():
        return None
    for digits, form in ((6, "%Y%m"), (8, "%Y%m%d")):
        years, periods = values // 10 ** (digits - 4), values // 100  # of one year or one month, they count as they are
        if ((years >= 1800) & (years < 2200)).all() and periods.min() < periods.max():
            found = pd.to_datetime(numbers.astype("int64").astype(str), format=form, errors="coerce")
            if found.notna().all():
                return found.astype("datetime64[us]")
    return None


def in_utc(values: pd.Series) -> pd.Series:
    """Dates without a zone."""
    if values.dt.tz is not None:
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    return values.astype("datetime64[us]")


def _chosen(
    known: pd.Series, *, who: str, order: str, advice: str, remedy: Callable[[str], str] | None
) -> tuple[str, pd.Series]:
    """The only format that fits all texts, "%Y" for ISO 8601, and their dates; the arguments are those of `dates`."""
    try:
        return "%Y", pd.to_datetime(known, format="ISO8601", utc=True)
    except ValueError:
        pass
    try:
        readings = _readings(in_english(known))
    except ValueError as error:
        raise ValueError(f"{who}: {error}") from error
    whole = {form: reading for form, reading in readings.items() if reading.notna().all()}
    different = {form: r for form, r in whole.items() if not any(r.equals(o) for o in _before(whole, form))}
    chosen = {form: reading for form, reading in different.items() if _ORDER_OF[form[1]] == order} or different
    if len(chosen) == 1:
        return next(iter(chosen.items()))
    if chosen:
        raise ValueError(
            f"{who}: column '{known.name}' is ambiguous: '{known.iloc[0]}' and all others may have the day or the "
            f"month first. Write them like 2025-12-31{advice and ', '}{advice}"
        )
    iso = pd.to_datetime(known, format="ISO8601", errors="coerce", utc=True)
    best = max([iso, *readings.values()], key=lambda reading: int(reading.notna().sum()))
    wrong = known[best.isna()]
    others = f", and {len(wrong) - 1} more such value{'s' * (len(wrong) > 2)}" if len(wrong) > 1 else ""
    raise ValueError(
        f"{who}: column '{known.name}' holds dates, but '{wrong.iloc[0]}' in row {wrong.index[0] + 1} is not a date"
        f"{others}{remedy(str(wrong.iloc[0])) if remedy else ''}"
    )


def _is_iso(texts: pd.Series) -> pd.Series:
    return pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True).notna()


def _first_of(readings: list[pd.Series], texts: pd.Series) -> pd.Series:
    """Each text in the first reading that has one; NaT without any."""
    found = pd.Series(pd.NaT, texts.index, dtype="datetime64[ns]")
    for reading in readings:
        found = found.fillna(reading)
    return found


def _before(readings: dict[str, pd.Series], form: str) -> list[pd.Series]:
    forms = list(readings)
    return [readings[other] for other in forms[: forms.index(form)]]


def _readings(known: pd.Series) -> dict[str, pd.Series]:
    """The texts in each format that one of them may have; NaT where a text is not of this format."""
    parts = known.str.extract(f"^{_WHOLE}$")
    shapes = parts["date"].dropna().str.replace(r"\d", "0", regex=True).unique()
    formats = [
        form
        for shape, forms in _SHAPES.items()
        if any(re.fullmatch(f"(?i:{shape})", text) for text in shapes)
        for form in forms
    ]
    words = (
        parts["date"]
        .str.replace(r"(?i)Q(\d)[ -]?(\d{4})", r"\2Q\1", regex=True)
        .str.replace(r"(?i)(\d{4})[ -]?Q(\d)", lambda found: f"{found[1]} {3 * int(found[2]) - 2}", regex=True)
        .str.replace(r"(?i)(\d)(?:st|nd|rd|th)\b", r"\1", regex=True)
        .str.replace(r"(?i)([a-z]{3})[a-z]*", r" \1 ", regex=True)
        .str.replace(r"[-/., ]+", " ", regex=True)
        .str.strip()
    )
    since_midnight = _clock(parts)
    return {form: pd.to_datetime(words, format=form, errors="coerce") + since_midnight for form in formats}


def _clock(parts: pd.DataFrame) -> Any:
    """The time of the day; NaT where there is none that a clock shows."""
    hour = pd.to_numeric(parts["hour"].fillna(parts["whole_hour"])).fillna(0.0)
    half = parts["half"].fillna(parts["its_half"]).str.lower()
    minute = pd.to_numeric(parts["minute"]).fillna(0.0)
    second = pd.to_numeric(parts["second"].str.replace(",", ".")).fillna(0.0)
    is_shown = (minute < 60) & (second < 60) & hour.where(half.isna(), hour - 1).between(0, 23)
    is_shown &= half.isna() | (hour <= 12)
    hour = (hour % 12 + 12 * (half == "p")).where(half.notna(), hour)
    return pd.to_timedelta((hour * 3600 + minute * 60 + second).where(is_shown), unit="s").astype("timedelta64[us]")
