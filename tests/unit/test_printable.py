"""Text as it may be printed."""

from __future__ import annotations

import logging
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.cli.answer import LogLines
from hpo.printable import in_a_line, printable

EVERY_CHARACTER = st.characters(codec=None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202eb\u2066c\u200f", r"a\u202eb\u2066c\u200f"),
        ("half \ud800 a pair", r"half \ud800 a pair"),
        ("over\rwritten", r"over\rwritten"),
        ("two\r\nlines\n\tof text", "two\nlines\n\tof text"),
        ("[bold]x[/a] :smile: שלום 日本 \N{GRINNING FACE}", "[bold]x[/a] :smile: שלום 日本 \N{GRINNING FACE}"),
    ],
)
def test_what_would_steer_a_terminal_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(EVERY_CHARACTER))
def test_printable_text_has_no_controls_and_every_encoding_of_unicode(text: str) -> None:
    shown = printable(text)

    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\n\t"]
    assert not [c for c in shown if unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI")]
    assert shown.encode().decode() == shown


@given(st.text(EVERY_CHARACTER))
def test_a_name_is_one_line(text: str) -> None:
    assert len(in_a_line(text).splitlines()) <= 1


def test_a_message_of_several_lines_looks_like_one_event_of_a_log() -> None:
    forged = "fine\n12:00:00 INFO    trial 7 complete\x1b[1A"
    record = logging.LogRecord("hpo", logging.WARNING, "", 0, "trial %d failed: %s", (3, forged), None)

    lines = LogLines("%(levelname)s %(message)s").format(record).splitlines()

    assert lines == ["WARNING trial 3 failed: fine", r"    12:00:00 INFO    trial 7 complete\x1b[1A"]
