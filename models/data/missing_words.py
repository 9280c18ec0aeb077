"""Texts such as None or NA: a missing value to some people, a class or a group to others."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd
from pandas.api.types import is_numeric_dtype, is_object_dtype, is_string_dtype

from models.data.standalone.words import WORDS


def is_text(column: pd.Series) -> bool:
    """Whether a column holds texts as they are in the file."""
    return (is_string_dtype(column.dtype) or is_object_dtype(column.dtype)) and not is_numeric_dtype(column.dtype)


def words_in(column: pd.Series, *, present: Collection[str] = ()) -> dict[str, int]:
    """The words that may stand for a missing value in a column of text, with the number of their rows.

    Args:
        present: texts that are values.
    """
    if not is_text(column):
        return {}
    doubtful = column[column.isin(WORDS - set(present))]
    return {str(word): int(count) for word, count in doubtful.value_counts().sort_index().items()}


def without_words(table: pd.DataFrame, *, present: Collection[str] = ()) -> pd.DataFrame:
    """The table with no value where a column of text has such a word."""
    doubtful = WORDS - set(present)
    changed = {
        str(name): column.mask(column.isin(doubtful))
        for name, column in table.items()
        if is_text(column) and column.isin(doubtful).any()
    }
    return table.assign(**changed) if changed else table


def check_no_words(
    column: pd.Series,
    thing: str,
    *,
    title: str,
    where: str,
    present: Collection[str],
    missing_values: str | None = None,
) -> None:
    """Check that a column of classes or groups has no text that may stand for a missing value.

    Args:
        thing: class, group or sequence.
        title: of the column in the message, such as "the target".
        where: begins the message.
        missing_values: as given so far, to be extended; None where rows without a value are refused.

    Raises:
        ValueError: it has; the message says how to declare them.
    """
    found = words_in(column, present=present)
    if not found:
        return
    words, rows = ", ".join(f"'{word}'" for word in found), sum(found.values())
    things = f"a {thing}" if len(found) == 1 else f"{thing}{'es' if thing.endswith('s') else 's'}"
    remedy = f"rows without a {thing} are refused: give them one, or take them out of the file"
    if missing_values is not None:
        declared = ",".join([*filter(None, [missing_values]), *found])
        remedy = f'{{missing_values: "{declared}"}} leaves these rows out'
    raise ValueError(
        f"{where}: {title} '{column.name}' holds {words} in {rows} of {len(column)} rows: {things}, or missing? "
        f'If {things}, give {{present_values: "{",".join([*present, *found])}"}}; if missing, {remedy}'
    )
