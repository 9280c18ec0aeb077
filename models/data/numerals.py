"""Numbers as people write them: with thousands separators, decimal commas, currency and percent signs, and units."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass

import pandas as pd

from models.data.standalone.numerals import SEPARATORS, UNIT, WRITTEN
from models.data.text_file import by_text
from models.data.units import without_unit

# A column of text with at least this fraction of numbers is a column of numbers with mistakes.
MOSTLY = 0.5
TRIED = 1000
_COMMA_IS_DECIMAL = r"(?:\d+|\d{1,3}(?:\.\d{3})+),\d+"


@dataclass(frozen=True)
class Numerals:
    """How numbers are written in a file.

    Attributes:
        decimal: a point or a comma.
        thousands: the separator of thousands; empty: it is recognised where only one reading is possible.
        separator: of the file's columns. In a file separated by commas, a comma within a number is taken for a
            separator of thousands.
    """

    decimal: str = "."
    thousands: str = ""
    separator: str = ","


def check_separators(decimal: str, thousands: str, *, who: str) -> None:
    """
    Raises:
        ValueError: the separators of decimals and of thousands are the same; the message begins with `who`.
    """
    if decimal == thousands:
        raise ValueError(f"{who}: decimal and thousands are both '{decimal}': give the other one too")


def read_numbers(known: pd.Series, written: Numerals, *, who: str, names: str = "", remedy: str = "") -> pd.Series:
    """Texts as float64, NaN where a text is no number; warns of a column whose numbers are more than plain digits.

    If less than half of the texts are numbers, none is.

    Args:
        names: the advice for a column whose numbers are names; ends the warning.
        remedy: the same for a column of several units, which is refused; as `names` by default.

    Raises:
        ValueError: the comma may be of decimals or of thousands, or the units differ; the message begins with `who`.
    """
    plain = plain_numbers(known, written.decimal)
    if plain.notna().all():
        return plain
    is_money = known.iloc[:TRIED].str.contains(UNIT, regex=True).any()
    texts, unit = (known, "") if is_money else without_unit(known, who=who, names=remedy or names)
    if not unit:
        return _read(known, plain, written, who=who, names=names)
    numbers = _read(texts, plain_numbers(texts, written.decimal), written, who=who, names=names)
    if numbers.notna().all():
        warnings.warn(
            f"{who}: column '{known.name}' is read as numbers, in {unit}: '{known.iloc[0]}' as {numbers.iloc[0]:.15g}"
            f"{names and '; '}{names}",
            stacklevel=2,
        )
    return numbers


def _read(known: pd.Series, plain: pd.Series, written: Numerals, *, who: str, names: str) -> pd.Series:
    """The texts as numbers, where `plain` has those of digits alone."""
    if plain.notna().all():
        return plain
    others = known[plain.isna()].drop_duplicates()
    if not others.iloc[:TRIED].str.fullmatch(WRITTEN).any():  # dates, for instance, of which all rows are different
        return plain if plain.notna().mean() >= MOSTLY else plain.mask(plain.notna())
    _check_points(known, written.decimal, f"{who}: column '{known.name}'")
    parts = others.str.extract(rf"^{WRITTEN}$")
    is_number = parts["digits"].notna() & (parts["before"].isna() | parts["after"].isna())
    share = float((plain.notna() | known.isin(others[is_number])).mean())
    if not is_number.any() or share < MOSTLY:
        return plain if plain.notna().mean() >= MOSTLY else plain.mask(plain.notna())
    parts, others = parts[is_number], others[is_number]
    units = parts["before"].fillna(parts["after"]).fillna("")
    digits = parts["digits"].str.replace(r"\s", " ", regex=True).str.replace("\u2019", "'")
    separator = _thousands(others, digits, written, f"{who}: column '{known.name}'")
    values = _values(digits, separator, written.decimal)
    is_negative = parts[["minus", "inner_minus"]].isin(["-", "\u2212"]).any(axis=1) | parts["bracket"].notna()
    values = values.mask(is_negative, -values)
    _check_units(units[values.notna()], others, bool(plain.abs().gt(0).any()), f"{who}: column '{known.name}'")
    numbers = plain.fillna(known.map(dict(zip(others, values, strict=True))).astype("float64"))
    if numbers.notna().mean() < MOSTLY:
        return numbers.mask(numbers.notna())
    if numbers.notna().all():
        text, value = others.iloc[0], values.iloc[0]
        percent = ", in percent" if (units == "%").any() else ""
        warnings.warn(
            f"{who}: column '{known.name}' is read as numbers: '{text}' as {value:.15g}{percent}"
            f"{names and '; '}{names}",
            stacklevel=2,
        )
    return numbers


def plain_numbers(texts: pd.Series, decimal: str = ".") -> pd.Series:
    """Texts as float64, NaN where one is more or other than digits, a sign and the decimal point."""

    def numbers(different: pd.Series) -> pd.Series:
        if decimal != ".":
            different = different.mask(different.str.contains(".", regex=False)).str.replace(decimal, ".", regex=False)
        return pd.to_numeric(different, errors="coerce").astype("float64")

    return by_text(texts, numbers).astype("float64") if len(texts) else texts.astype("float64")


def _check_points(known: pd.Series, decimal: str, where: str) -> None:
    if decimal == ".":
        return
    is_grouped = known.str.fullmatch(r"[-+]?[1-9]\d{0,2}\.\d{3}").astype(bool)
    is_pointed = known.str.fullmatch(r"[-+]?\d*\.\d+").astype(bool) & ~is_grouped
    if is_pointed.any() and plain_numbers(known).notna().mean() >= MOSTLY:
        raise ValueError(
            f"{where} has decimal points, such as '{known[is_pointed].iloc[0]}', but decimal is '{decimal}': write all "
            "numbers of the file alike, or leave decimal out if the other commas are separators of thousands"
        )


def _thousands(texts: pd.Series, digits: pd.Series, written: Numerals, where: str) -> str:
    """The separator of thousands; empty without one."""
    if written.thousands:
        return written.thousands
    points = digits[digits.str.fullmatch(r"[1-9]\d{0,2}(?:\.\d{3}){2,}").astype(bool)]
    if written.decimal == "." and len(points) and len(points) == len(digits):
        raise ValueError(
            f"{where} has points between thousands, such as '{texts[points.index[0]]}': give {{decimal: \",\"}}"
        )
    found = [separator for separator in SEPARATORS if separator != written.decimal]
    found = [separator for separator in found if digits.str.contains(separator, regex=False).any()]
    if written.decimal == "." and "," in found:
        commas = digits[digits.str.contains(",", regex=False)]
        is_grouped = _values(commas, ",", ".").notna()
        example = texts[commas.index[0]]
        if commas[~is_grouped].str.fullmatch(_COMMA_IS_DECIMAL).any():
            example = texts[commas[~is_grouped].index[0]]
            raise ValueError(f"{where} has decimal commas, such as '{example}': give {{decimal: \",\"}}")
        is_clear = written.separator == "," or commas.str.contains(r",.*[,.]").any()
        if is_grouped.any() and not is_clear:
            whole = commas.iloc[0].replace(",", "")
            raise ValueError(
                f"{where} holds numbers such as '{example}': give {{thousands: \",\"}} if this is {whole}, or "
                f'{{decimal: ","}} if it is {commas.iloc[0].replace(",", ".")}'
            )
    fitting = [separator for separator in found if _values(digits, separator, written.decimal).notna().all()]
    return next(iter(fitting or found), "")


def _values(digits: pd.Series, separator: str, decimal: str) -> pd.Series:
    """Numbers in groups of three digits, or as in India of two and at last three; NaN where they are not so."""
    point, mark = re.escape(decimal), re.escape(separator)
    groups = rf"|[1-9]\d{{0,2}}(?:{mark}\d{{3}})+|[1-9]\d?(?:{mark}\d{{2}})+{mark}\d{{3}}" if separator else ""
    fits = digits.str.fullmatch(rf"(?:(?:\d*{groups})(?:{point}\d+)?|\d+{point})(?:[eE][-+]?\d+)?").astype(bool)
    texts = digits.str.replace(separator, "", regex=False) if separator else digits
    return pd.to_numeric(texts.str.replace(decimal, ".", regex=False).where(fits), errors="coerce").astype("float64")


def _check_units(units: pd.Series, texts: pd.Series, has_plain: bool, where: str) -> None:
    different = sorted(set(units) | ({""} if has_plain else set()))
    if "%" in different and len(different) > 1:
        bare = units[units != "%"]
        other = f" as '{texts[bare.index[0]]}'" if len(bare) else ""
        raise ValueError(
            f"{where} has a percent sign in some rows, as '{texts[units[units == '%'].index[0]]}', and none in "
            f"others{other}: write all of them alike"
        )
    currencies = [unit for unit in different if unit]
    if len(currencies) > 1:
        raise ValueError(f"{where} holds amounts in {', '.join(currencies)}: convert them to one currency")
