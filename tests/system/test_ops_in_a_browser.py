"""People watch a study and steer it in a real browser: as viewer and as operator, in `/ops` and in optuna-dashboard."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from projects.launch import Hpo, finish, read_until, wait_for
from projects.service import running
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from hpo.service.delete import delete_study
from hpo.store import Store
from hpo.web.callers import Role
from hpo.web.users import add_user

PASSWORD = "a long password"
SLOW = {"class": "projects.nets:Line", "seconds": 0.5}  # an epoch
PHONE = {"width": 400, "height": 900, "deviceScaleFactor": 2, "mobile": True}


@contextmanager
def serving(hpo: Hpo) -> Iterator[str]:
    """The address of `hpo dashboard --login`."""
    process = hpo.start("dashboard", "--login", "--port", 0)
    try:
        found = re.search(r"(http://\S+:\d+)/", read_until(process, "Ctrl-C"))
        assert found
        yield found[1]
    finally:
        process.terminate()
        print(finish(process)[1])  # shown when the test fails


def text(browser: Chrome, selector: str = "main") -> str:
    """What a person reads, in a part of the page."""
    return browser.execute_script(  # type: ignore[no-any-return]
        "return [...document.querySelectorAll(arguments[0])].map((part) => part.innerText).join('\\n')", selector
    )


def lines(browser: Chrome) -> list[str]:
    """The curves that are drawn."""
    return browser.execute_script(  # type: ignore[no-any-return]
        "return [...document.querySelectorAll('.wide svg.plot path.line')].map((line) => line.getAttribute('d'))"
    )


def wait(browser: Chrome, fact: Callable[[], Any]) -> Any:
    return WebDriverWait(browser, 300).until(lambda _: fact(), f"the page is {text(browser)}")


def log_in(browser: Chrome, address: str, role: Role) -> None:
    browser.delete_all_cookies()
    browser.get(f"{address}/login?next=/ops")
    browser.find_element(By.NAME, "name").send_keys(role.word)
    browser.find_element(By.NAME, "password").send_keys(PASSWORD, Keys.ENTER)
    wait(browser, lambda: browser.current_url.endswith("/ops"))


def complaints(browser: Chrome) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]  # type: ignore[no-untyped-call]


@pytest.fixture
def hpo(tmp_path: Path) -> Hpo:
    found = Hpo(tmp_path, f"sqlite:///{tmp_path}/hpo.db")
    with Store.create(found.url) as store:
        for role in (Role.VIEWER, Role.OPERATOR):
            add_user(store, role.word, role, PASSWORD)
    return found


def test_people_watch_a_study_and_steer_it(hpo: Hpo, browser: Chrome) -> None:
    file = hpo.study("watched", model=SLOW, epochs=5000, budget={"trials": 3})
    page = "/ops/studies/watched"
    with serving(hpo) as address, running(hpo, "run", file, "--slots", 2):
        wait_for(lambda: sum(one.epochs > 1 for one in hpo.trials("watched")) == 2)

        # a viewer sees how it goes on, without loading the page again, and no buttons
        log_in(browser, address, Role.VIEWER)
        browser.find_element(By.LINK_TEXT, "watched").click()
        epochs = wait(browser, lambda: text(browser, 'td[data-name="Epoch"]'))
        curves = lines(browser)
        browser.execute_script("window.isTheSamePage = true")
        wait(browser, lambda: text(browser, 'td[data-name="Epoch"]') != epochs)
        wait(browser, lambda: lines(browser) != curves)
        assert browser.execute_script("return window.isTheSamePage")
        assert not browser.find_elements(By.CSS_SELECTOR, "form[method=post]")
        browser.find_element(By.LINK_TEXT, "trial 0").click()
        wait(browser, lambda: "executor: " in text(browser, "pre.log"))
        browser.get(f"{address}/dashboard/studies/1")
        wait(browser, lambda: "watched" in text(browser, "body") and "val_loss" in text(browser, "body"))

        # an operator pauses it, extends it and lets it go on
        log_in(browser, address, Role.OPERATOR)
        browser.get(f"{address}{page}")
        browser.find_element(By.CSS_SELECTOR, "button.pause").click()
        wait(browser, lambda: "study watched is paused" in text(browser))
        wait(browser, lambda: "2 idle" in text(browser))
        assert not browser.find_element(By.CSS_SELECTOR, "button.pause").is_displayed()
        browser.find_element(By.NAME, "changes").send_keys("trials=+20", Keys.ENTER)
        wait(browser, lambda: "study watched: trials 23" in text(browser))
        browser.find_element(By.CSS_SELECTOR, "button.resume").click()
        wait(browser, lambda: "2 running" in text(browser))
        assert not browser.find_element(By.CSS_SELECTOR, "button.resume").is_displayed()
        browser.find_element(By.LINK_TEXT, "Report").click()
        wait(browser, lambda: "Model card" in text(browser, "body"))

        # the page fits a phone, and says that its study is gone
        browser.get(f"{address}{page}")
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
        wait(browser, lambda: browser.execute_script("return innerWidth") == PHONE["width"])
        assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE["width"]
        with Store.open(hpo.url) as store:
            delete_study(store, "watched", artifacts=hpo.folder / "art", force=True)
        wait(browser, lambda: "it was deleted or renamed" in text(browser, "#note"))

        assert complaints(browser) == []


def test_keys_are_enough(hpo: Hpo, browser: Chrome) -> None:
    with serving(hpo) as address:
        log_in(browser, address, Role.OPERATOR)

        body = browser.find_element(By.TAG_NAME, "body")
        body.send_keys(Keys.TAB)
        assert browser.switch_to.active_element.text == "To the content"
        reached = set()
        for _ in range(12):
            browser.switch_to.active_element.send_keys(Keys.TAB)
            active = browser.switch_to.active_element
            reached.add(active.text or active.get_attribute("name"))

    assert {"Studies", "Workers", "optuna-dashboard", "Load again", "Hold still", "q", "Find"} <= reached
