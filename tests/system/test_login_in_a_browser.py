"""People log in with a real browser, by the keyboard and on a narrow screen, and see what their role may do."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest
from callers import PASSWORD
from projects.synthetic import Claimant, begin_next, create_study
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait
from test_dashboard import Dashboard, complaints, serving, shown

from hpo.store import Store
from hpo.web.audit import trail
from hpo.web.callers import Role
from hpo.web.users import add_user


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("login")
    url = f"sqlite:///{folder}/hpo.db"
    with Store.create(url) as store:
        worker = Claimant(store, create_study(store))
        assert worker.finish(begin_next(worker, 0.25, 0.5), 0.5)
        for name, role in (("vera", Role.VIEWER), ("otto", Role.OPERATOR)):
            add_user(store, name, role, PASSWORD)
    with serving(url, folder, "--login") as running:
        yield running


def log_in(browser: Chrome, server: Dashboard, name: str, password: str = PASSWORD) -> None:
    """By the keyboard only: the name's field has the focus when the page is there."""
    browser.get(f"{server.url}/")
    browser.switch_to.active_element.send_keys(name, Keys.TAB, password, Keys.ENTER)


def test_a_viewer_logs_in_and_sees_no_button_that_changes_something(server: Dashboard, browser: Chrome) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    log_in(browser, server, "vera", "wrong password")
    WebDriverWait(browser, 300).until(lambda driver: "is wrong" in driver.find_element(By.TAG_NAME, "main").text)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400  # type: ignore[no-untyped-call]
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    log_in(browser, server, "vera")
    WebDriverWait(browser, 300).until(lambda driver: "/dashboard" in driver.current_url)

    shown(browser, f"{server.url}/dashboard", "synthetic")
    labels = [b.get_attribute("aria-label") for b in browser.find_elements(By.TAG_NAME, "button") if b.is_displayed()]
    assert "delete study" not in labels


def test_an_operator_writes_a_note_in_optuna_dashboard_and_logs_out(server: Dashboard, browser: Chrome) -> None:
    log_in(browser, server, "otto")
    WebDriverWait(browser, 300).until(lambda driver: "/dashboard" in driver.current_url)
    shown(browser, f"{server.url}/dashboard/studies/1/note", "Note")

    pen = browser.find_element(By.CSS_SELECTOR, 'button:has(path[d^="M3 17.25V21h3.75"])')
    pen.click()
    area = WebDriverWait(browser, 300).until(lambda driver: driver.find_element(By.CSS_SELECTOR, "textarea"))
    area.send_keys("seen by otto")
    save = [b for b in browser.find_elements(By.TAG_NAME, "button") if b.text.strip().lower() == "save"]
    save[0].click()
    shown(browser, f"{server.url}/dashboard/studies/1/note", "seen by otto")
    assert complaints(browser) == []

    browser.get(f"{server.url}/logout")
    browser.find_element(By.TAG_NAME, "button").click()
    WebDriverWait(browser, 300).until(lambda driver: driver.current_url.endswith("/login"))
    browser.get(f"{server.url}/dashboard")
    WebDriverWait(browser, 300).until(lambda driver: "/login?next=/dashboard" in driver.current_url)
    with Store.open(f"sqlite:///{psutil.Process(server.process.pid).cwd()}/hpo.db") as store:
        assert [(entry.caller, entry.action, entry.study) for entry in trail(store)] == [("otto", "note", "synthetic")]
