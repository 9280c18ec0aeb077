"""The tables of benchmarks/README.md: a command writes what stands between its markers, and people the rest.

<!-- startup -->
| what the command printed |
<!-- /startup -->
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

README = Path(__file__).with_name("README.md")


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--write`, for `Told`."""
    parser.add_argument("--write", action="store_true", help="put what is printed into benchmarks/README.md as well")
    parser.add_argument("--readme", type=Path, default=README, help="put it into this file instead")


class Told:
    """What a command prints, line by line as it comes, and in the end writes where it is asked to.

    Args:
        section: the name of the markers.
        options: of a parser with `add_options`.
    """

    def __init__(self, section: str, options: argparse.Namespace) -> None:
        self._section = section
        self._readme: Path | None = options.readme if options.write else None
        self._lines: list[str] = []
        if self._readme is not None:
            write_table(self._readme, section, None)  # before hours are spent: it can be written there

    def line(self, text: str = "") -> None:
        print(text, flush=True)
        self._lines.append(text)

    def write(self) -> None:
        """Once everything was measured: a command that fails leaves the old table."""
        if self._readme is not None:
            write_table(self._readme, self._section, "\n".join(self._lines))


def write_table(readme: Path, section: str, text: str | None) -> None:
    """Replace what stands between the section's markers; without a text, only look whether that is possible."""
    first, last = f"<!-- {section} -->\n", f"<!-- /{section} -->\n"
    content = readme.read_text(encoding="utf-8")
    if content.count(first) != 1 or content.count(last) != 1 or content.index(last) < content.index(first):
        sys.exit(f"{readme}: should have one line '{first.strip()}', and after it one line '{last.strip()}'")
    if text is None:
        return
    before, after = content[: content.index(first)], content[content.index(last) :]
    partial = readme.with_suffix(".partial")
    partial.write_text(f"{before}{first}\n{text.strip()}\n\n{after}", encoding="utf-8")
    partial.replace(readme)
