"""`hpo report` in a real browser, offline: at three widths, in light and in dark, and whatever the texts are."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from projects.launch import Hpo
from projects.reported import add_final, add_trials, explained, final_of, of_classes
from projects.service import invoke
from projects.synthetic import create_study
from selenium.webdriver import Chrome
from sqlalchemy import update

import hpo
from hpo.report.page import page_of
from hpo.report.reading import Material, read_material
from hpo.report.report import report_of
from hpo.space import Choice, Float, Parameter, SearchSpace
from hpo.store import Store
from hpo.store.tables import hpo_attempts, hpo_epochs, hpo_trials, hpo_workers
from hpo.study.states import TrialState

WIDTHS = (360, 820, 1400)
MOST_BYTES = 3_000_000  # of the page of a study of 1,000 trials
HOSTILE = "</title></style><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}{%x%}\u202e\x1b[2J"
VOID = {"meta", "img"}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Hpo:
    """A store with a study that is finalized."""
    folder = tmp_path_factory.mktemp("report")
    hpo = Hpo(folder, f"sqlite:///{folder}/hpo.db")
    with Store.create(hpo.url) as store:
        study = create_study(store)
        add_trials(store, study, complete=24)
        add_final(store, study, final_of("synthetic", test=of_classes("test", **explained())))
    return hpo


@pytest.fixture(scope="module")
def page(here: Hpo) -> Path:
    code, output = invoke(here, "report", "synthetic", "-o", here.folder / "page.html")
    assert code == 0, output
    return here.folder / "page.html"


def shown_at(browser: Chrome, page: Path, width: int, *, scheme: str = "light") -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get(page.as_uri())


def complaints(browser: Chrome) -> list[Any]:
    return list(browser.get_log("browser"))  # type: ignore[no-untyped-call]


# ---- in a browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_every_width_without_a_complaint_or_a_request(browser: Chrome, page: Path, scheme: str) -> None:
    for width in WIDTHS:
        shown_at(browser, page, width, scheme=scheme)
        browser.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")

        assert browser.execute_script("return window.innerWidth") == width
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        wide, narrow = (
            browser.execute_script(f"return document.querySelector('.{kind}').getBoundingClientRect().width")
            for kind in ("wide", "narrow")
        )
        assert (wide > 0, narrow > 0) == (width > 640, width <= 640)
    assert complaints(browser) == []
    # beside the page itself; data: URLs of pictures are no requests
    requested = browser.execute_script("return performance.getEntriesByType('resource').map(one => one.name)")
    assert [name for name in requested if not name.startswith("data:")] == []


def test_the_colours_follow_the_scheme_and_texts_have_contrast(browser: Chrome, page: Path) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        shown_at(browser, page, 820, scheme=scheme)
        colours[scheme] = browser.execute_script(
            "const of = (what, key) => getComputedStyle(document.querySelector(what))[key];"
            "return [of('body', 'backgroundColor'), of('body', 'color'), of('.tick', 'fill'), of('.facts', 'color')]"
        )

    (paper, *_), (dark_paper, *_) = colours.values()
    assert luminance(paper) > 0.9
    assert luminance(dark_paper) < 0.05
    for paper, *texts in colours.values():
        assert min(contrast(text, paper) for text in texts) >= 4.5  # WCAG 2.2, level AA


def luminance(colour: str) -> float:
    """Relative, of `rgb(1, 2, 3)`, by WCAG 2.2."""
    shares = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_print_shows_what_is_folded(browser: Chrome, page: Path) -> None:
    shown_at(browser, page, 820)
    visible = (
        "return [...document.querySelectorAll('details')].filter(one => one.closest('nav') === null)"
        ".map(one => one.lastElementChild.checkVisibility())"
    )

    on_screen = browser.execute_script(visible)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    printed = browser.execute_script(visible)

    assert not all(on_screen)
    assert all(printed)


def test_hostile_texts_are_shown_as_text(browser: Chrome, tmp_path: Path) -> None:
    space = SearchSpace((Parameter("lr", Float(0.001, 1.0)), Parameter("kind", Choice(HOSTILE, "b"))))
    evil = {"name": HOSTILE, "targets": 60, "precision": None, "recall": None, "f1": None}
    more = explained() | {"notes": [HOSTILE], "logged": {HOSTILE: 0.5}}
    more["mistakes"][0] |= {"target": HOSTILE, "what": HOSTILE, "values": {HOSTILE: HOSTILE}}
    more["mistakes"] += [{**more["mistakes"][0], "picture": "data:image/svg+xml,<svg onload=alert(3)>"}]
    more["explanations"][1]["picture"] = 'data:image/png;base64,x" onerror="alert(4)'
    with Store.create(f"sqlite:///{tmp_path}/hpo.db") as store:
        study = create_study(store, space=space, model={"class": "nets:Net", "text": HOSTILE})
        add_trials(store, study)
        with store.write() as connection:
            connection.execute(
                update(hpo_trials).where(hpo_trials.c.cause.is_not(None)).values(cause=HOSTILE, error=HOSTILE)
            )
            connection.execute(update(hpo_epochs).values(metrics=json.dumps({HOSTILE: 1.0, "val_accuracy": 0.5})))
            connection.execute(update(hpo_workers).values(host=HOSTILE))
            connection.execute(update(hpo_attempts).values(device=HOSTILE))
        test = of_classes("test", classes=[evil, evil], **more)
        add_final(store, study, final_of("synthetic", test=test, warnings=(HOSTILE,)))
        material = replace(read_material(store, "synthetic"), name=HOSTILE, metric=HOSTILE)
    page = tmp_path / "page.html"
    page.write_text(page_of(report_of(material)), encoding="utf-8")

    shown_at(browser, page, 820)

    assert complaints(browser) == []
    assert browser.execute_script("return document.scripts.length") == 0
    pictures = browser.execute_script("return [...document.images].map(one => one.src)")
    assert len(pictures) == 1
    assert pictures[0].startswith("data:image/png;base64,")
    assert browser.title == HOSTILE.replace("\u202e", r"\u202e").replace("\x1b", r"\x1b")


# ---- the page as a text


class Tags(HTMLParser):
    """The tags of a page, which have to close each other in their order, and all attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_has_no_script_no_handler_and_no_address_outside_of_it(page: Path) -> None:
    text = unescape(page.read_text(encoding="utf-8"))
    tags = Tags(page.read_text(encoding="utf-8"))

    assert not {"script", "link", "iframe", "object", "base", "form"} & tags.names
    assert not [name for name, _ in tags.attributes if name.startswith("on") or name == "style"]
    addresses = {str(value) for name, value in tags.attributes if name in ("href", "src", "xlink:href", "action")}
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in addresses)
    assert "default-src 'none'" in text
    assert "unsafe" not in text
    assert "url(" not in text
    anchors = {address for address in addresses if address.startswith("#")}
    assert anchors == {f"#{value}" for name, value in tags.attributes if name == "id"}


def long_search(trials: int, folder: Path) -> Material:
    """A study of so many trials with 30 parameters and 100 epochs each, of which two in three were pruned."""
    space = SearchSpace(tuple(Parameter(f"parameter_{place}", Float(0, 1)) for place in range(30)))
    chance = np.random.default_rng(0)
    begun = datetime.now(UTC).replace(tzinfo=None)
    with Store.create(f"sqlite:///{folder}/hpo.db") as store:
        study = create_study(store, space=space)
        add_trials(store, study, complete=1, pruned=0, failed=0)
        add_final(store, study, final_of("synthetic", test=of_classes("test", **explained())))
        material = read_material(store, "synthetic")
    [first] = material.records
    records = []
    for number in range(trials):
        epochs = 100 if number % 3 == 0 else int(chance.integers(3, 60))
        values = np.cumsum(chance.random(epochs)) / 100
        curve = tuple((epoch, {"val_accuracy": float(value)}) for epoch, value in enumerate(values, start=1))
        params = {name: float(chance.random()) for name in space}
        state = TrialState.COMPLETE if number % 3 == 0 else TrialState.PRUNED
        records.append(
            replace(first, number=number, state=state, value=float(values.max()), params=params, curve=curve)
            if number
            else replace(first, params=params, curve=curve, started=begun, ended=begun + timedelta(hours=1))
        )
    return replace(material, records=tuple(records), best=tuple(records[:10]))


@pytest.mark.parametrize("trials", [1_000, 10_000])
def test_the_page_of_many_long_trials_stays_small(trials: int, tmp_path: Path) -> None:
    page = page_of(report_of(long_search(trials, tmp_path)))

    assert len(page.encode()) < MOST_BYTES
    Tags(page)


# ---- the verbs


def test_the_report_is_written_beside_where_one_stands_or_printed(
    here: Hpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    code, output = invoke(here, "report", "synthetic")
    printed = invoke(here, "report", "synthetic", "--format", "md", "-o", "-")[1]

    assert code == 0
    assert re.fullmatch(r"synthetic-report\.html written \(\d+ kB\)\n", output)
    assert [path.name for path in tmp_path.iterdir()] == ["synthetic-report.html"]
    assert printed.startswith("# synthetic\n")
    assert "\n## Model card\n" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("synthetik",), "error: the store has no study 'synthetik', did you mean 'synthetic'? It has synthetic.\n"),
        (("synthetic", "-o", "."), "error: -o .: is a folder: name a file in it\n"),
        (("synthetic", "-o", "nowhere/a.html"), "error: -o nowhere/a.html: there is no folder nowhere\n"),
        (("synthetic", "-o", "a.pdf"), "error: -o a.pdf: a report's name ends in one of .html, .htm, .md, .markdown\n"),
        (("synthetic", "--format", "pdf"), "error: --format pdf: should be html or md\n"),
    ],
)
def test_a_report_that_cannot_be_is_refused_and_leaves_nothing(
    here: Hpo, arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    code, output = invoke(here, "report", *arguments)

    assert (code, output) == (2, message)
    assert [*tmp_path.iterdir()] == []


def test_importance_prints_what_it_can_tell(here: Hpo) -> None:
    found = json.loads(invoke(here, "importance", "synthetic", "--json")[1])
    code, text = invoke(here, "importance", "synthetic")

    assert code == 0
    assert (found["study"], found["trials"], found["best"]) == ("synthetic", 24, 5)
    assert {one["name"] for one in found["parameters"]} == {"lr", "optimizer", "momentum", "depth", "dropout"}
    for one in found["parameters"]:
        assert one["low"] <= one["value"] <= one["high"]
        assert re.search(rf"^{one['name']} +{one['value']:.0%} +", text, re.MULTILINE)
    assert ("too few trials to tell" in text) == (found["remark"] is not None)


def test_python_writes_the_same_report(here: Hpo, tmp_path: Path) -> None:
    study = hpo.open_study("synthetic", here.url)

    written = study.report(tmp_path / "again.md")

    assert written == tmp_path / "again.md"
    without_time = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC")
    printed = invoke(here, "report", "synthetic", "--format", "md", "-o", "-")[1]
    assert without_time.sub("", written.read_text(encoding="utf-8")) == without_time.sub("", printed)
    assert study.importance().trials == 24
