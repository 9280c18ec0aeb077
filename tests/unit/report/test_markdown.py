"""A report as Markdown: texts are text, whatever they look like."""

from __future__ import annotations

import pytest

from hpo.report.contents import Code, Folded, Items, Report, Section, Table, Text, Tile, Tiles
from hpo.report.markdown import markdown_of


def markdown(*blocks: object) -> str:
    return markdown_of(Report("study", ["fact"], [Section("key", "Section", blocks)], "1.0"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("val_accuracy 0.97", "val_accuracy 0.97"),
        ("_x_", r"\_x\_"),
        ("# head", r"\# head"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("-0.5", "-0.5"),
        ("---", r"\---"),
        ("a | b", r"a \| b"),
        ("<script>", r"\<script\>"),
        ("[a](http://b)", r"\[a\](http\://b)"),
        ("`code` ~~x~~ *y*", r"\`code\` \~\~x\~\~ \*y\*"),
        ("two\nlines", r"two\\nlines"),
        ("\x1b[2J\u202e", r"\\x1b\[2J\\u202e"),
    ],
)
def test_what_markdown_would_read_as_its_own_is_escaped(text: str, written: str) -> None:
    for block in (Text([text]), Items([text]), Table(["a"], [[text]]), Tiles([Tile(text, "", "")])):
        assert written in markdown(block)


def test_a_fence_is_longer_than_those_in_the_code() -> None:
    text = markdown(Code("a: ````b````\n", "yaml"))

    assert "`````yaml\na: ````b````\n`````\n" in text


def test_tables_lists_and_folded_blocks_follow_each_other_under_their_headings() -> None:
    text = markdown(
        Text(["first"]),
        Folded("more", [Items(["one", "two"], "list")]),
        Table(["a", "b"], [["1", "2"]], frozenset({1})),
    )

    assert text.startswith("# study\n\nfact\n\n## Section\n\nfirst\n\n### more\n\n### list\n\n- one\n- two\n\n")
    assert "| a | b |\n|---|---:|\n| 1 | 2 |\n" in text


def test_a_section_that_has_only_plots_is_left_out() -> None:
    assert "## Section" not in markdown()
