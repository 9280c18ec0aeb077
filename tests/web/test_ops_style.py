"""The style of `/ops` can be read by people who see little contrast: WCAG 2.2 AA, of every pair of its colours."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

STYLE = re.sub(r"/\*.*?\*/", "", (files("hpo.web.ops") / "static" / "ops.css").read_text(encoding="utf-8"), flags=re.S)
TEXT, GRAPHIC = 4.5, 3.0  # success criteria 1.4.3 and 1.4.11
COLOUR = re.compile(r"#[0-9a-f]{3}(?:[0-9a-f]{3})?\b")
NO_INFORMATION = {"rule"}  # lines between what its place tells apart already


def schemes() -> dict[str, dict[str, str]]:
    """The colours by name, in the light and in the dark."""
    light, dark = (
        dict(re.findall(r"--([\w-]+):\s*(#\w+)", block)) for block in re.findall(r":root \{(.*?)\}", STYLE, flags=re.S)
    )
    assert dark.keys() == light.keys()
    return {"light": light, "dark": light | dark}


SCHEMES = schemes()


def rules() -> list[tuple[str, dict[str, str]]]:
    """(selector, declarations) of every rule but those of the colours themselves."""
    inner = re.sub(r":root \{.*?\}", "", STYLE, flags=re.S)
    found = re.findall(r"([^{}]+)\{([^{}]*)\}", inner)
    return [
        (selector.strip(), dict(re.findall(r"([\w-]+):\s*([^;]+?)\s*(?:;|$)", declared)))
        for selector, declared in found
    ]


def variables(declared: dict[str, str], *names: str) -> list[str]:
    return [name for key in names for name in re.findall(r"var\(--([\w-]+)\)", declared.get(key, "")) if name != "k"]


def pairs() -> set[tuple[str, str, float]]:
    """(colour, background, contrast that it needs): a rule's own background, or every background of texts."""
    grounds = {"paper", "box"}
    found = set()
    for _, declared in rules():
        own = set(variables(declared, "background")) or grounds
        found |= {(name, ground, TEXT) for name in variables(declared, "color", "fill") for ground in own}
        edges = variables(declared, "border", "border-color", "border-left", "outline", "stroke", "accent-color", "--k")
        found |= {(name, ground, GRAPHIC) for name in edges if name not in NO_INFORMATION for ground in grounds}
    return found


def luminance(colour: str) -> float:
    """Relative luminance, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    digits = colour.removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_the_contrast_of_known_colours() -> None:
    assert contrast("#fff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_colour_stands_out_from_its_background(scheme: str) -> None:
    colours, needed = SCHEMES[scheme], pairs()
    assert len(needed) > 20

    found = {
        f"{name} on {ground}: {ratio:.2f}, should be {least}"
        for name, ground, least in needed
        if (ratio := contrast(colours[name], colours[ground])) < least
    }

    assert not found


def test_every_colour_is_named_once_for_both_schemes() -> None:
    outside = re.sub(r":root \{.*?\}|var\(.*?\)", "", STYLE, flags=re.S)

    assert not COLOUR.findall(outside)
    assert not re.findall(r"rgb|hsl|\b(?:white|black|red|green|blue|grey|gray)\b(?![\w-])", outside)


def test_nothing_is_loaded_from_elsewhere() -> None:
    assert not re.findall(r"url\(|@import|https?:", STYLE)
