"""The page in a real browser: drawn, played, paused, a slider and the mouse felt; and what is refused."""

import contextlib
import shutil
import socket
import sys
import threading
import time

import numpy as np
import pytest

from tests.agents.viewer.test_session import CHEETAH, Waves
from warmstart.core.errors import WarmstartError

pytest.importorskip("viser", reason="viser isn't installed: pip install 'warmstart[view]'")
pytest.importorskip("mjviser", reason="mjviser isn't installed: pip install 'warmstart[view]'")

from warmstart.agents.viewer.viewer import Viewer

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=900,640",
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def viewer():
    made = Viewer({"warm": Waves(), "cold": Waves(-0.5)}, CHEETAH, seed=3, port=free_port())
    stop = threading.Event()

    def serve():
        while not stop.is_set():
            made.run(0.1)

    thread = threading.Thread(target=serve)
    thread.start()
    yield made
    stop.set()
    thread.join()
    made.close()


@pytest.fixture
def driver(tmp_path):
    if BROWSER is None or DRIVER is None:
        pytest.skip("no browser: install chromium and chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium isn't installed")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield browser
    browser.quit()


def until(true, what, seconds=40.0):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, what
        time.sleep(0.05)
    return found


def test_the_page_in_a_browser(viewer, driver, tmp_path):
    """One pass through the page."""
    from PIL import Image
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    session = viewer.session

    def find(text):
        where = f"//*[self::button or @role='tab'][normalize-space()='{text}']"
        return driver.find_elements(By.XPATH, where)

    def press(text):
        def pressed():
            with contextlib.suppress(StaleElementReferenceException):  # the page was drawn anew meanwhile
                ActionChains(driver).move_to_element(find(text)[0]).click().perform()
                return True

        until(pressed, text)

    # Drawn: many colours where the robot stands, and it plays.
    driver.get(viewer.url)
    until(lambda: find("Pause"), "the controls")
    canvas = until(lambda: driver.find_elements(By.CSS_SELECTOR, "canvas"), "a canvas")[0]

    def robot():
        """Pixels of the canvas where the robot is, in its warm colours: rows and columns."""
        driver.save_screenshot(str(tmp_path / "page.png"))
        with Image.open(tmp_path / "page.png") as image:
            shown = np.asarray(image.convert("RGB")).astype(int)[:, :600]
        found = np.argwhere(shown[..., 0] - shown[..., 2] > 25)
        return found[(found[:, 0] > 150) | (found[:, 1] > 320)]  # not in the browser's warning

    until(lambda: len(robot()) > 300, "a robot on the canvas")
    steps = session.player.steps
    until(lambda: session.player.steps != steps, "it plays")
    until(lambda: session.real_time_factor > 0.5, "about in real time")

    # Paused, stepped.
    press("Pause")
    until(lambda: not session.playing, "paused")
    steps = session.player.steps
    press("Step")
    until(lambda: session.player.steps == steps + 1, "one step")

    # A slider moved: other physics, the same episode.
    press("Physics")
    until(lambda: len(driver.find_elements(By.CSS_SELECTOR, "[role=slider]")) > 5, "sliders")
    gravity = driver.find_elements(By.CSS_SELECTOR, "[role=slider]")[1]
    driver.execute_script("arguments[0].focus()", gravity)
    driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT * 10)
    until(lambda: session.context, "a change")
    until(lambda: driver.find_elements(By.XPATH, "//code[starts-with(., 'gravity=x1.')]"), "the change shown")
    assert session.player.inside.sim.model_field("opt.gravity")[0, 2] < -9.81
    assert session.player.steps == steps + 1

    # A part dragged with the mouse.
    push = []
    own = session.push
    session.push = lambda *arguments: push.append(arguments) or own(*arguments)
    places = robot()
    row, column = places[np.abs(places - np.median(places, axis=0)).sum(axis=1).argmin()].tolist()
    middle = canvas.size["width"] // 2, canvas.size["height"] // 2
    drag = ActionChains(driver).move_to_element_with_offset(canvas, column - middle[0], row - middle[1])
    drag.click_and_hold().move_by_offset(0, -15).move_by_offset(0, -15).pause(0.2).release().perform()
    until(lambda: any(arguments[0].force[2] > 0 for arguments in push), "upwards")
    until(lambda: session.player.hand.push is None, "it was let go")

    severe = [line["message"] for line in driver.get_log("browser") if line["level"] == "SEVERE"]
    assert not [line for line in severe if "passive event listener" not in line], "viser's own"


def test_side_by_side_and_choices_without_a_browser(viewer):
    session, panel = viewer.session, viewer.panel
    panel._together.value = True
    until(lambda: len(viewer._scenes) == 2, "two robots")
    until(lambda: session.players["cold"].steps > 2, "both act")
    assert viewer._scenes["warm"]._offset[1] == -viewer._scenes["cold"]._offset[1] != 0
    assert "cold: return" in until(lambda: "cold" in panel._status.content and panel._status.content, "told")
    panel._together.value = False
    panel._choice.value = "cold"
    until(lambda: [*viewer._scenes] == ["cold"], "the other one")
    until(lambda: ("cold", "cold") in panel._plots, "its plots")
    until(lambda: not panel._plots["warm", "warm", "cold"][0].visible, "and no others")
    panel._speed.value = 4.0
    until(lambda: session.speed == 4.0, "faster")


def test_a_change_that_cannot_be_is_told_on_the_page_and_put_back(viewer):
    panel, told = viewer.panel, []
    panel.complain = told.append
    mass = panel.sliders["body.torso.mass", 0]
    rest = mass.value
    panel._text.value = "torso.mass=x2"
    viewer.ask(lambda: panel._apply("text", panel._text.value))
    until(lambda: mass.value == pytest.approx(2 * rest), "the slider follows the text")
    viewer.ask(lambda: panel._apply("text", "torso.mas=2"))
    until(lambda: told, "told")
    assert "Did you mean" in told[0]
    assert mass.value == pytest.approx(2 * rest)
    damping = next(slider for slider in panel._found.single if slider.name == "joint.rootx.damping")
    viewer.ask(lambda: panel._move(damping, 5.0))
    until(lambda: "joint.rootx.damping" in viewer.session.changes, "a slider from 0")
    viewer.ask(lambda: panel._move(damping, 0.0))
    until(lambda: "joint.rootx.damping" not in viewer.session.changes, "and back")
    viewer.ask(panel._forget)
    until(lambda: mass.value == pytest.approx(rest), "back to the task")
    assert len(told) == 1


def test_who_is_too_slow_for_real_time_still_shows_and_serves(viewer, monkeypatch):
    own = Waves.predict
    monkeypatch.setattr(Waves, "predict", lambda *words: time.sleep(0.12) or own(*words))
    shown, asked = [], []
    monkeypatch.setattr(viewer, "_show", lambda: shown.append(1))
    for _ in range(5):
        viewer.ask(lambda: asked.append(viewer.session.shown))
    until(lambda: len(shown) > 5, "frames")
    assert len(asked) == 5
    assert asked[-1] - asked[0] <= 1, "all at once"
    until(lambda: 0 < viewer.session.real_time_factor < 0.7, "it says how slow it is")


def test_a_part_that_grows_is_drawn_anew(viewer):
    until(lambda: viewer._scenes, "drawn")
    scene = viewer._scenes["warm"]
    before = dict(scene._meshes)
    viewer.ask(lambda: viewer.panel._apply("text", "geom.bthigh.size=[0.1,0.145]"))
    grown = [*before][3]
    until(lambda: scene._meshes.get(grown, before[grown]) is not before[grown], "drawn anew")
    assert {name for name in before if scene._meshes[name] is not before[name]} == {grown}


@pytest.mark.parametrize("port", [0, 70_000])
def test_no_port(port):
    with pytest.raises(WarmstartError, match=f"port from 1 to 65535, found {port}"):
        Viewer({"a": Waves()}, CHEETAH, port=port)


def test_a_taken_port_and_a_strange_host():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(WarmstartError, match=f"Port {port} is taken; give another one"):
            Viewer({"a": Waves()}, CHEETAH, port=port)
    with pytest.raises(WarmstartError, match=r"Can't serve at 203.0.113.9:\d+: cannot assign"):
        Viewer({"a": Waves()}, CHEETAH, host="203.0.113.9", port=free_port())


def test_a_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "mjviser", None)
    with pytest.raises(WarmstartError, match=r"pip install 'warmstart\[view\]'"):
        Viewer({"a": Waves()}, CHEETAH)
