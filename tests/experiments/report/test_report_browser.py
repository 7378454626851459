"""The report in a real browser: no network, no error, arms toggle, the axis switches."""

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.experiments.synthetic import realistic
from warmstart.experiments.analysis.summary import summarise
from warmstart.experiments.report.report import write_report

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-prefers-reduced-motion",  # no smooth scrolling under the clicks
    "--window-size=1280,900",
)
MINE = "return document.getElementById('curve-chart').data.filter(t => t.meta.arm === 'fine_tune')"

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no browser: install chromium"),
    pytest.mark.skipif(DRIVER is None, reason="no chromedriver: install chromium-driver"),
]


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> Iterator:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium isn't installed")
    from selenium.webdriver.chrome.service import Service

    folder = tmp_path_factory.mktemp("report")
    data = realistic(3)
    path = write_report(data, summarise(data), folder / "report.html")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        browser.get(path.as_uri())
        yield browser
    finally:
        browser.quit()


def lines(driver, what: str):
    return driver.execute_script(f"{MINE}.map(t => {what})")


def test_the_report_in_a_browser(driver):
    """One pass through the page: its log is complete only once everything was used."""
    # Drawn.
    roles = lines(driver, "[t.meta.role, t.visible]")
    assert ["line", True] in roles
    assert ["band", True] in roles
    assert ["seed", False] in roles

    # Toggled off and on again.
    box = driver.find_element("css selector", "input[data-arm=fine_tune]")
    label = box.find_element("xpath", "..")
    label.click()
    assert not any(lines(driver, "t.visible"))
    others = (
        "return document.getElementById('curve-chart').data.some(t => t.meta.arm === 'scratch' && t.visible)"
    )
    assert driver.execute_script(others)
    label.click()
    assert ["line", True] in lines(driver, "[t.meta.role, t.visible]")

    # Single seeds, bands, aggregate.
    driver.find_element("xpath", "//label[contains(., 'Single seeds')]").click()
    assert ["seed", True] in lines(driver, "[t.meta.role, t.visible]")
    driver.find_element("xpath", "//label[contains(., '95% bands')]").click()
    assert ["band", False] in lines(driver, "[t.meta.role, t.visible]")
    driver.find_element("xpath", "//label[span='Mean']").click()

    # Each axis.
    title = "return document.getElementById('curve-chart').layout.xaxis.title.text"
    last = "t.meta.role === 'line' ? t.x[t.x.length - 1] : 0"
    assert driver.execute_script(title) == "Training steps in the target"
    assert max(lines(driver, last)) == 250_000
    driver.find_element("xpath", "//label[span='Source counted']").click()
    assert driver.execute_script(title) == "Training steps, the source's counted in"
    assert max(lines(driver, last)) == 850_000
    driver.find_element("xpath", "//label[span='Wall-clock']").click()
    assert driver.execute_script(title) == "Training wall-clock in the target (s)"
    assert 20 < max(lines(driver, last)) < 26
    driver.find_element("xpath", "//label[span='Wall-clock, source counted']").click()
    assert 72 < max(lines(driver, last)) < 78

    # A policy that doesn't train is held to the end of the axis.
    mine = MINE.replace("fine_tune", "zero_shot")
    held = driver.execute_script(f"{mine}.find(t => t.meta.role === 'line').x")
    assert (held[0], held[-1] > 72) == (52, True)

    # The picture that the camera saves names the arms that are shown.
    button = driver.find_element("css selector", "#curve-chart [data-title^='Save as PNG']")
    driver.execute_script(
        "Plotly.downloadImage = (figure) => { window.saved = figure; }; arguments[0].click()", button
    )
    named = "return saved.data.filter(t => t.showlegend !== false && t.visible).map(t => t.name)"
    assert driver.execute_script(named) == [
        "scratch",
        "fine_tune",
        "feature_extraction",
        "zero_shot",
        "shuffled",
    ]
    image = "Plotly.toImage(saved, {width: 300, height: 200}).then(arguments[0])"
    assert driver.execute_async_script(image).startswith("data:image/png;base64,")

    # The keyboard reaches the controls, details open, the source agents are drawn when asked for.
    box.send_keys(" ")
    assert not any(lines(driver, "t.visible"))
    driver.find_element("css selector", "#source-panel > summary").click()
    drawn = "return (document.getElementById('source-chart').data || []).length"
    wait_for(driver, lambda: driver.execute_script(drawn) == 3)

    # Narrow and dark: nothing sticks out to the right, colours follow.
    before = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    size = {"width": 420, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert driver.execute_script("return getComputedStyle(document.body).backgroundColor") != before
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 420

    # Nothing was asked of the network, nothing went wrong.
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    requests = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert requests, "the log of requests is empty: the check would be void"
    assert not [url for url in requests if not url.startswith(("file:", "data:", "blob:", "chrome:"))]
    assert [url for url in requests if url.startswith("file:")] == [driver.current_url]
    assert not [entry for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def wait_for(driver, condition) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, 10).until(lambda _: condition())
