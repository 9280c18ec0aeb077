"""The tables of benchmarks/README.md: a command writes the text between its markers, people write the rest.

<!-- startup -->
| the command's output |
<!-- /startup -->
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

README = Path(__file__).with_name("README.md")


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--write`, for `Output`."""
    parser.add_argument("--write", action="store_true", help="also write the output into benchmarks/README.md")
    parser.add_argument("--readme", type=Path, default=README, help="write it into this file instead")


class Output:
    """Prints a command's output line by line, and in the end writes it into the README if requested.

    Args:
        section: the name of the markers.
        options: of a parser with `add_options`.
    """

    def __init__(self, section: str, options: argparse.Namespace) -> None:
        self._section = section
        self._readme: Path | None = options.readme if options.write else None
        self._lines: list[str] = []
        if self._readme is not None:
            write_table(self._readme, section, None)  # checks the markers before the hours of measurement

    def line(self, text: str = "") -> None:
        print(text, flush=True)
        self._lines.append(text)

    def write(self) -> None:
        """Write the table, after all measurements: a command that fails leaves the old table."""
        if self._readme is not None:
            write_table(self._readme, self._section, "\n".join(self._lines))


def read_table(readme: Path, section: str) -> str:
    """The text between the section's markers."""
    write_table(readme, section, None)
    return readme.read_text(encoding="utf-8").partition(f"<!-- {section} -->\n")[2].partition(f"<!-- /{section} -->")[0]


def write_table(readme: Path, section: str, text: str | None) -> None:
    """Replace the text between the section's markers; without a text, only check the markers."""
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
