"""The public holidays of a country, as days, from the package `holidays`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

YEARS_AHEAD = 20  # of the last year of a series, for which a model may be used


def holiday_days(place: str, moments: Any, *, who: str) -> NDArray[np.int64]:
    """Days since 1970, from the first year of the moments to `YEARS_AHEAD` after the last.

    Args:
        place: a country's code of ISO 3166, and optionally that of a part of it: `US`, `DE-BY`; empty for no holidays.

    Raises:
        ValueError: the package is not installed, it does not know the place, or the times are no dates; the message
            begins with `who`.
    """
    if not place:
        return np.empty(0, np.int64)
    if moments.dtype.kind != "M":
        raise ValueError(f"{who}: holidays '{place}' need dates, and the times of this file are numbers")
    try:
        import holidays
    except ImportError:
        raise ValueError(
            f"{who}: holidays '{place}' need the package holidays: pip install 'hpo-service[holidays]'"
        ) from None
    first, last = (int(moment.astype("datetime64[Y]").astype(np.int64)) + 1970 for moment in (moments[0], moments[-1]))
    country, _, part = place.partition("-")
    try:
        found = holidays.country_holidays(country, subdiv=part or None, years=range(first, last + YEARS_AHEAD + 1))
    except (NotImplementedError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{who}: holidays '{place}' should be a country's code such as US, or that of a part of it such as DE-BY: "
            f"{str(error).rstrip('.')}"
        ) from None
    return np.sort(np.array(list(found), dtype="datetime64[D]").astype(np.int64))
