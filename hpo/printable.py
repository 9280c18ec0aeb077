"""Text of users, stores and exceptions as it may be printed: what would steer a terminal, or a reader's eye, is shown.

A name may hold the escape sequences by which a terminal moves its cursor, changes its title or takes commands, or the
characters by which text runs from right to left and an order seems to be another one. They are written out, such as
`\\x1b` and `\\u202e`, so that a person sees them, and a terminal does not.
"""

from __future__ import annotations

import math
import re

# The controls of ASCII and of Latin-1 but tabs and line feeds, the marks and overrides of direction (Unicode's
# Bidi_Control), two separators that some programs break lines at, and halves of UTF-16 pairs, which no encoding has.
_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]",
)
_BREAKS = str.maketrans({"\n": "\\n", "\t": "\\t"})


def printable(text: str) -> str:
    """The text with its controls written out; line feeds and tabs stay, and a line may end as on Windows."""
    if text.isascii() and text.isprintable():  # nearly every text of a long listing
        return text
    return _UNPRINTABLE.sub(_written_out, text.replace("\r\n", "\n"))


def in_a_line(text: str) -> str:
    """The same for a name or a value, which is a part of a line: its line feeds and tabs are written out too."""
    shown = printable(text)
    return shown if shown.isprintable() else shown.translate(_BREAKS)


def counted(number: int, noun: str) -> str:
    """`1 trial`, `2,000 trials`, `2 studies`."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def mebibytes(number: int) -> str:
    """A size in bytes, for people: `12.3 MiB`."""
    return f"{number / 2**20:,.1f} MiB"


def with_margin(value: float, margin: float) -> str:
    """`0.981 ± 0.004`: the margin to one digit, or two where that is a 1, and the value to the same place."""
    if not 0 < margin < math.inf:
        return f"{value:.4g} ± {margin:.2g}"
    place = -math.floor(math.log10(margin)) + (f"{margin:e}"[0] == "1")
    if not 0 <= place <= 12:
        return f"{value:.4g} ± {margin:.2g}"
    return f"{value:.{place}f} ± {margin:.{place}f}"


def all_of(number: int, noun: str) -> str:
    """`its one trial`, `all of its 20 trials`."""
    return f"its one {noun}" if number == 1 else f"all of its {counted(number, noun)}"


def _written_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


# Of times this close to each other, the middle is shown.
_CLOSE = 1.25


def duration_between(least: float, most: float) -> str:
    """`42 s`, or `42 s to 3 min 20 s` where it is not known better."""
    if most <= _CLOSE * least or round(most) <= round(least) + 1:
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
