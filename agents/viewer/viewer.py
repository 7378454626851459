"""`Viewer`: policies in the browser, served from this machine, with what can be done to them."""

import contextlib
import errno
import io
import queue
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.agents.checkpoints.policy import Policy
from warmstart.agents.viewer.panel import Panel
from warmstart.agents.viewer.player import Player, Push
from warmstart.agents.viewer.scene import RobotScene
from warmstart.agents.viewer.session import Session
from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.task import Task

FRAMES_PER_SECOND = 40.0
TEXTS_PER_SECOND = 5.0
Array = NDArray[Any]


class Viewer:
    """A page on which policies act live.

    Everything that happens on the page is done by `run`, in one thread; callbacks only ask for it.

    Args:
        policies: Who may act, by name.
        task: Where.
        seed: Seed of the first episode.
        host: Address to serve at; 127.0.0.1 is this machine only.
        port: Port to serve at.

    Attributes:
        session: The simulations.
        url: Where the page is.

    Raises:
        WarmstartError: A package is missing, the port is taken, or the task can't be viewed.
    """

    def __init__(
        self,
        policies: Mapping[str, Policy],
        task: Task,
        seed: int = 0,
        host: str = "127.0.0.1",
        port: int = 8080,
    ) -> None:
        viser = _viser()
        self.session = Session(policies, task, seed)
        _check_free(host, port)
        with _silence():
            self.server = viser.ViserServer(host=host, port=port, label=str(task), verbose=False)
        shown = "localhost" if host in ("127.0.0.1", "0.0.0.0", "::") else host
        self.url = f"http://{shown}:{self.server.get_port()}"
        self._requests: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._scenes: dict[str, RobotScene] = {}
        self._frame_due = self._text_due = 0.0
        self._asked = True
        self.pull_newtons_per_metre = 200.0
        self.server.gui.configure_theme(control_width="large", show_logo=False, show_share_button=False)
        self._aim()
        self.panel = Panel(self)
        self.arrange()

    def ask(self, request: Callable[[], None]) -> None:
        """Have something done by `run` at once; what can't be done is told on the page."""
        self._requests.put(request)

    def run(self, seconds: float | None = None) -> None:
        """Let the policies act.

        Args:
            seconds: How long; None is until an interrupt.
        """
        end = float("inf") if seconds is None else time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            self._serve(min(self.session.wait, max(0.0, self._frame_due - now), max(0.0, end - now)))
            self.session.proceed()
            now = time.perf_counter()
            if now >= self._frame_due:
                self._frame_due = now + 1 / FRAMES_PER_SECOND
                if self.session.playing or self._asked:
                    self._asked = False
                    self._show()
            if now >= self._text_due:
                self._text_due = now + 1 / TEXTS_PER_SECOND
                self.panel.tell()

    def _serve(self, wait: float) -> None:
        """Do all that was asked for, as soon as it is asked."""
        with contextlib.suppress(queue.Empty):
            while True:
                request = self._requests.get(timeout=wait) if wait > 0 else self._requests.get_nowait()
                self._asked, wait = True, 0.0
                try:
                    request()
                except WarmstartError as error:
                    self.panel.complain(str(error))

    def arrange(self) -> None:
        """Put those that are shown into the scene, side by side."""
        for scene in self._scenes.values():
            scene.remove()
        visible = self.session.visible
        self._scenes = {}
        width = _lane(visible[0])
        for number, player in enumerate(visible):
            offset = np.array([0.0, (number - (len(visible) - 1) / 2) * width, 0.0])
            lane = width if len(visible) > 1 else None
            self._scenes[player.name] = RobotScene(
                self.server, f"/{number}", player.model, lane, offset, self._dragger(player)
            )
        self._show()

    def redraw(self) -> None:
        """Draw parts anew whose size has changed."""
        for player in self.session.visible:
            self._scenes[player.name].draw(player.model)
        self._show()

    def _dragger(self, player: Player) -> Callable[[int, Array, Array, bool], None]:
        def drag(body: int, point: Array, way: Array, held: bool) -> None:
            force = self.pull_newtons_per_metre * way
            push = Push(body, point, force)
            self.ask(lambda: self.session.push(push, player.name, None) if held else self.session.release())

        return drag

    def _show(self) -> None:
        """Move what is in the scene to where the simulations are."""
        share = self.session.share
        with self.server.atomic():
            for player in self.session.visible:
                positions, orientations = player.pose(share)
                centre = np.zeros(3)
                if self.panel.follows:
                    centre[:2] = positions[player.follows, :2]
                scene = self._scenes[player.name]
                scene.follow(positions, orientations, centre)
                if len(self._scenes) > 1:
                    place = positions[player.follows] + scene.shift
                    place[2] = 0.55 * _lane(player)
                    scene.write(f"{player.name}: {player.total:,.0f}", place)

    def _aim(self) -> None:
        """Look at the robot as films do, from a little above."""
        player = self.session.player
        positions, _ = player.pose()
        size = _lane(player)
        at = np.array([0.0, 0.0, positions[player.follows, 2]])
        camera = self.server.initial_camera
        camera.position = tuple(at + size * np.array([-0.35, -1.25, 0.45]))
        camera.look_at = tuple(at)

    def close(self) -> None:
        """Stop serving and simulating."""
        with _silence():
            self.server.stop()
        self.session.close()


def _lane(player: Player) -> float:
    """Width of a robot's lane, m: what its model extends over, without floors."""
    return float(max(1.0, 1.6 * player.extent))


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep viser from printing banners."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):
        yield


def _viser() -> Any:
    try:
        import mjviser  # noqa: F401
        import viser
    except ImportError as missing:
        raise WarmstartError(
            f"Viewing needs {missing.name or 'viser'}, which isn't installed: pip install 'warmstart[view]'."
        ) from None
    return viser


def _check_free(host: str, port: int) -> None:
    """Refuse a port that is taken or isn't one; viser would take the next one instead."""
    if not 0 < port < 65536:
        raise WarmstartError(f"Expected a port from 1 to 65535, found {port}.")
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise WarmstartError(
                f"Port {port} is taken; give another one, such as --port {port + 1}."
            ) from None
        reason = error.strerror or error
        raise WarmstartError(f"Can't serve at {host}:{port}: {str(reason).lower()}.") from None
