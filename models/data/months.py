"""Names of months in other languages than English, put into English, from the data of Unicode's CLDR in Babel."""

from __future__ import annotations

import functools
import re

import pandas as pd

from models.data.text_file import by_text

# By their speakers in Europe. Of two languages with the same names, the first is found.
LANGUAGES = (
    "de", "fr", "it", "es", "pl", "uk", "ro", "nl", "pt", "el", "hu", "cs", "sv", "ca", "bg", "da", "fi", "sk", "nb",
    "hr", "sr", "sr_Latn", "lt", "sl", "lv", "et", "tr", "ru", "eu", "gl", "is", "mk", "sq", "be",
)  # fmt: skip
ENGLISH = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ENGLISH_NAMES = (
    "jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sep(t|tember)?|oct(ober)?|nov(ember)?"
    "|dec(ember)?"
)
TRIED = 1000
LEAST_LETTERS = 3  # of a shortened name
_WORD = r"[^\W\d_]+"
_ARTICLES = r"(?:de\s+|del\s+|d['\u2019])"
# A day, perhaps after its weekday, with the word of a month and a year; or the word and a year of four digits.
_DATE = (
    rf"(?:{_WORD}[.,]*\s+)?(?P<day>\d{{1,2}})(?:\.|er|\u00ba|\u00aa|\.a|-e)?[\s-]*{_ARTICLES}?(?P<word>{_WORD})\.?,?[\s-]*"
    rf"{_ARTICLES}?(?P<year>\d{{4}}|\d{{2}})(?:\s*\u0433\.?)?\.?"
)
_MONTH = rf"(?P<month_word>{_WORD})\.?,?[\s-]*{_ARTICLES}?(?P<month_year>\d{{4}})\.?"
_YEAR_FIRST = rf"(?P<first_year>\d{{4}})\.?\s+(?P<first_word>{_WORD})\.?\s+(?P<first_day>\d{{1,2}})\.?"
_FOREIGN = rf"(?i:(?:{_DATE}|{_MONTH}|{_YEAR_FIRST})(?P<clock>(?:,?\s+\d.*)?))"


def in_english(texts: pd.Series) -> pd.Series:
    """The texts with the names of months in English, where they are dates with the months of one other language.

    Raises:
        ValueError: the names are of different months in two languages.
    """
    different = texts.drop_duplicates()
    if not different.iloc[:TRIED].str.fullmatch(_FOREIGN).any():
        return texts
    parts = different.str.extract(f"^{_FOREIGN}$")
    words = _joined(parts, "word", "month_word", "first_word").str.casefold()
    wanted = set(words.dropna().unique())
    if all(re.fullmatch(_ENGLISH_NAMES, word) for word in wanted):
        return texts
    readings = {language: _months_in(language, wanted) for language in LANGUAGES}
    counts = {language: int(words.isin(list(months)).sum()) for language, months in readings.items()}
    most = max(counts.values())
    if most <= words.str.fullmatch(_ENGLISH_NAMES).eq(True).sum() or most < len(different) / 2:
        return texts
    readings = {language: months for language, months in readings.items() if counts[language] == most}
    first = next(iter(readings))
    for language, named in readings.items():
        other = next((word for word in sorted(named) if named[word] != readings[first].get(word, named[word])), None)
        if other is not None:
            one, two = (ENGLISH[readings[name][other] - 1] for name in (first, language))
            raise ValueError(
                f"'{other}' in column '{texts.name}' is {one} in one language ({first}) and {two} in another "
                f"({language}): write dates like 2025-12-31"
            )
    months = words.map(readings[first]).map(lambda number: ENGLISH[int(number) - 1], na_action="ignore")
    day = _joined(parts, "day", "first_day").fillna("").where(parts["month_word"].isna(), "")
    year = _joined(parts, "year", "month_year", "first_year")
    translated = (day + " " + months + " " + year + parts["clock"].fillna("")).str.strip()
    return by_text(texts, lambda some: some.map(dict(zip(different, translated, strict=True))).fillna(some))


def _joined(parts: pd.DataFrame, *names: str) -> pd.Series:
    """The first of these groups that each text has."""
    return parts[list(names)].bfill(axis=1).iloc[:, 0]


def _months_in(language: str, words: set[str]) -> dict[str, int]:
    """The number of the month that each of the words names in this language; without those that name none."""
    found = {word: _month_of(word, _names_in(language)) for word in words}
    return {word: number for word, number in found.items() if number}


def _month_of(word: str, names: dict[str, int]) -> int:
    """1 to 12; 0 if the word is neither a name of a month nor the beginning of a single one's."""
    if word in names:
        return names[word]
    if len(word) < LEAST_LETTERS:
        return 0
    numbers = {number for name, number in names.items() if name.startswith(word)}
    return numbers.pop() if len(numbers) == 1 else 0


@functools.cache
def _names_in(language: str) -> dict[str, int]:
    """Numbers of the months by their names in small letters, whole and shortened, in both grammatical forms."""
    # Imported here, since few files need it.
    from babel.dates import get_month_names

    names = {"mrz": 3} if language == "de" else {}  # often so shortened, but not in CLDR
    for width in ("abbreviated", "wide"):
        for form in ("format", "stand-alone"):
            for number, name in get_month_names(width, form, locale=language).items():
                names[name.casefold().rstrip(".")] = number
    return names
