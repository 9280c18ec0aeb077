"""Numbers with a unit behind them, such as 12 kg: the numbers alone, if the whole column has one unit."""

from __future__ import annotations

import pandas as pd

from models.data.text_file import by_text

TRIED = 1000
_NUMBER = r"[-+\u2212]?[.,]?\d(?:[\d.,'\u2019\s]*\d)?(?:[eE][-+]?\d+)?"
# Letters, perhaps per others: kg, km/h, m2, °C. Not an exponent, and not the half of a day.
_UNIT = (
    r"(?![eE][-+]?\d)(?![aApP]\.?[mM]\.?$)°?[^\W\d_]{1,12}(?:/[^\W\d_]{1,8})?[23\u00b2\u00b3]?\.?|°|[\"\u2033\u2032]"
)
_MEASURED = rf"(?P<number>{_NUMBER})(?P<gap>\s*)(?P<unit>{_UNIT})"
# Units of measurement: where several of them are in a column, it is no column of names.
_LENGTHS = "nm µm um mm cm dm m km in ft yd mi inch inches feet foot mile miles meter meters metre metres"
_AREAS_AND_VOLUMES = "mm2 cm2 m2 km2 mm² cm² m² km² ha m3 cm3 m³ cm³ ml mL cl dl l L gal"
_WEIGHTS = "µg ug mg g kg t lb lbs oz gram grams pound pounds"
_TIMES = "ns µs us ms s sec secs second seconds min mins minute minutes h hr hrs hour hours d day days week weeks"
_TIMES += " month months year years yr yrs Tag Tage Woche Wochen Monat Monate Jahr Jahre Std Stunde Stunden"
_OTHERS = "C °C F °F K ° Hz kHz MHz GHz W kW MW GW Wh kWh MWh V mV kV A mA J kJ MJ cal kcal N kN Pa hPa kPa MPa bar psi"
_OTHERS += " B KB kB MB GB TB bit kbit Mbit mol mmol rpm ppm dB m/s km/h mph kn"
KNOWN = frozenset(" ".join((_LENGTHS, _AREAS_AND_VOLUMES, _WEIGHTS, _TIMES, _OTHERS)).split())


def without_unit(known: pd.Series, *, who: str, names: str = "") -> tuple[pd.Series, str]:
    """The texts without the unit that follows each number, and the unit; the same texts and an empty one without any.

    Args:
        names: the advice for texts that are names; ends each message.

    Raises:
        ValueError: the units differ, or are in some rows only; the message begins with `who`.
    """
    different = known.drop_duplicates()
    if not different.iloc[:TRIED].str.fullmatch(_MEASURED).any():
        return known, ""
    parts = different.str.extract(rf"^{_MEASURED}$")
    parts["unit"] = _singular(parts["unit"].str.removesuffix("."))
    is_bare = different.str.fullmatch(_NUMBER).astype(bool)
    units = parts["unit"].dropna()
    found = sorted(units.unique())
    # A capital right behind a number is that of a house, or a size.
    is_known = units.isin(KNOWN) & ~(units.str.fullmatch("[A-Z]") & (parts["gap"][units.index] == ""))
    has_others = bool((parts["unit"].isna() & ~is_bare).any())
    if (len(found) > 1 or is_bare.any() or has_others) and not is_known.all():
        return known, ""
    if len(found) > 1 or is_bare.any():
        if has_others:
            return known, ""
        one, *rest = [different[units.index[units == unit][0]] for unit in found]
        other = rest[0] if rest else different[is_bare].iloc[0]
        problem = "numbers in several units" if rest else "a unit behind some numbers only"
        raise ValueError(
            f"{who}: column '{known.name}' has {problem}, such as '{one}' and '{other}': write all of them in one unit"
            f"{names and '; '}{names}"
        )
    bare = by_text(known, lambda texts: texts.str.replace(rf"^({_NUMBER})\s*(?:{_UNIT})$", r"\1", regex=True))
    return bare, found[0]


def _singular(units: pd.Series) -> pd.Series:
    """Units without the s of a plural, where the singular is there too."""
    present = set(units.dropna())
    plurals = {unit + "s": unit for unit in present if len(unit) > 1 and unit + "s" in present}
    return units.replace(plurals)
