"""What stands beside the scene: playing, checkpoints, plots, sliders of the physics, pushes."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from warmstart.agents.viewer.player import Player, Push
from warmstart.agents.viewer.session import FASTEST, SLOWEST, Session
from warmstart.agents.viewer.sliders import Slider, make_sliders
from warmstart.envs.simulation.names import PartNames
from warmstart.envs.tasks.contexts import format_context

_POINTS, _ACTIONS = 300, 80
"""Points of the returns' plot at most, and actions that the other one shows."""
_COLOURS = ("#1668b8", "#d9541e", "#2f8f4e", "#8a4fbf", "#b8901c", "#17a2a6", "#c23b6b", "#5d6b7a")
_DIRECTIONS = {
    "−x": (-1.0, 0.0, 0.0),
    "+x": (1.0, 0.0, 0.0),
    "−y": (0.0, -1.0, 0.0),
    "+y": (0.0, 1.0, 0.0),
    "up": (0.0, 0.0, 1.0),
}


class Page(Protocol):
    """What the controls act on.

    Attributes:
        session: The simulations.
        server: viser's server.
        pull_newtons_per_metre: Force on a part that is dragged, for every metre from it to the mouse.
    """

    session: Session
    server: Any
    pull_newtons_per_metre: float

    def ask(self, request: Callable[[], None]) -> None:
        """Have something done between two control steps."""

    def arrange(self) -> None:
        """Put those that are shown into the scene."""

    def redraw(self) -> None:
        """Draw parts anew whose size has changed."""


class Panel:
    """The controls of a page.

    Args:
        viewer: What they control.

    Attributes:
        follows: Whether the camera follows the robots.
        sliders: viser's sliders of physical parameters, by name and component; see `Slider`.
    """

    def __init__(self, viewer: Page) -> None:
        self._viewer, self._session, self._gui = viewer, viewer.session, viewer.server.gui
        self.follows = True
        self._status = self._gui.add_markdown("")
        self._add_playing()
        tabs = self._gui.add_tab_group()
        with tabs.add_tab("Plots"):
            self._plots: dict[tuple[str, ...], list[Any]] = {}
            self._plot_room = self._gui.add_folder(None)
        with tabs.add_tab("Physics"):
            self._add_physics()
        with tabs.add_tab("Push"):
            self._add_pushing()

    def _add_playing(self) -> None:
        gui, session, ask = self._gui, self._session, self._viewer.ask
        seed = gui.add_number("Seed", session.seed, min=0, step=1, hint="Of the episode after a reset")
        does: dict[str, Callable[[], None]] = {
            "Play": session.play,
            "Pause": lambda: session.play(False),
            "Step": self._step,
            "Reset": lambda: session.reset(int(seed.value)),
        }
        buttons = gui.add_button_group("", tuple(does), order=seed.order - 0.5)
        buttons.on_click(lambda _: ask(does[buttons.value]))
        self._speed = gui.add_slider("Speed", SLOWEST, FASTEST, 0.1, 1.0, hint="Simulated seconds per second")
        self._speed.on_update(lambda _: ask(lambda: session.set_speed(float(self._speed.value))))
        if len(session.names) > 1:
            self._choice = gui.add_dropdown("Checkpoint", session.names, initial_value=session.chosen)
            self._together = gui.add_checkbox("Side by side", session.together)
            for each in (self._choice, self._together):
                each.on_update(lambda _: ask(self._choose))
        follow = gui.add_checkbox("Camera follows", self.follows)
        follow.on_update(lambda _: setattr(self, "follows", follow.value))

    def _step(self) -> None:
        self._session.play(False)
        self._session.step()

    def _choose(self) -> None:
        self._session.choose(self._choice.value, self._together.value)
        self._viewer.arrange()

    def _add_physics(self) -> None:
        gui, session = self._gui, self._session
        self._in_force = gui.add_markdown("")
        self._text = gui.add_text("Changes", "", hint="Written as in a task: torso.mass=x2,friction=0.3")
        does = {"Apply": lambda: self._apply("text", self._text.value), "Back to the task": self._forget}
        buttons = gui.add_button_group("", tuple(does))
        buttons.on_click(lambda _: self._viewer.ask(does[buttons.value]))
        self._found = make_sliders(session.parameters, session.task.context)
        self.sliders: dict[tuple[str, int | None], Any] = {}
        for slider in self._found.all_of_a_kind:
            self._add_slider(slider)
        for folder in dict.fromkeys(slider.folder for slider in self._found.single):
            with gui.add_folder(folder, expand_by_default=False):
                for slider in (each for each in self._found.single if each.folder == folder):
                    self._add_slider(slider)
        if self._found.left_out:
            with gui.add_folder("without a slider", expand_by_default=False):
                gui.add_markdown("\n".join(f"- `{n}`: {why}" for n, why in self._found.left_out.items()))

    def _add_slider(self, slider: Slider) -> None:
        label = f"{slider.name} (x)" if slider.component is None else slider.label
        step = (slider.high - slider.low) / 1000
        handle = self._gui.add_slider(label, slider.low, slider.high, step, slider.value, hint=slider.name)
        key = (slider.name, slider.component)
        self.sliders[key] = handle
        handle.on_update(self._asked_by_a_person(lambda: self._move(slider, float(handle.value))))

    def _asked_by_a_person(self, request: Callable[[], None]) -> Callable[[Any], None]:
        """A callback that does it where a page asked for it, and not where we moved a control ourselves."""

        def callback(event: Any) -> None:
            if event.client is not None:
                self._viewer.ask(request)

        return callback

    def _move(self, slider: Slider, number: float) -> None:
        parameters, session = self._session.parameters, self._session
        part = parameters.columns.get(slider.name, slice(0))
        changes = slider.change(number, parameters.resolve(session.context)[part])
        without = parameters.resolve(session.context_without(slider.name))[part]
        if slider.component is not None and np.array_equal(np.atleast_1d(changes[0].value), without):
            changes = ()  # back where it was
        self._apply(slider.name, changes)

    def _apply(self, key: str, changes: Any) -> None:
        try:
            self._session.change(key, changes)
        finally:
            self._agree()
        self._viewer.redraw()

    def _forget(self) -> None:
        self._session.forget_changes()
        self._text.value = ""
        self._agree()
        self._viewer.redraw()

    def _agree(self) -> None:
        """Show what is in force, on all sliders."""
        parameters, session = self._session.parameters, self._session
        values = parameters.resolve(session.context)
        with self._viewer.server.atomic():
            for slider in self._found.all_of_a_kind:
                changes = session.changes.get(slider.name)
                self._put(slider, float(changes[0].value) if changes else slider.value)  # type: ignore[arg-type]
            for slider in self._found.single:
                assert slider.component is not None
                self._put(slider, float(values[parameters.columns[slider.name].start + slider.component]))
        changed = session.context[len(session.task.context) :]
        self._in_force.content = f"Changed: `{format_context(changed)}`" if changed else "As the task says."

    def _put(self, slider: Slider, value: float) -> None:
        handle = self.sliders[slider.name, slider.component]
        handle.min, handle.max = min(handle.min, value), max(handle.max, value)
        if abs(handle.value - value) > handle.step:
            handle.value = value

    def _add_pushing(self) -> None:
        gui = self._gui
        gui.add_markdown("Drag a part of the robot with the left mouse button, or push one for 0.2 s.")
        newtons = gui.add_slider("Force (N)", 1.0, 1000.0, 1.0, 100.0)
        self.pull = gui.add_slider("Drag (N/m)", 1.0, 2000.0, 1.0, self._viewer.pull_newtons_per_metre)
        self.pull.on_update(lambda _: setattr(self._viewer, "pull_newtons_per_metre", float(self.pull.value)))
        player = self._session.player
        names = PartNames(player.model).bodies
        moving = [names[body] for body in np.flatnonzero(player.model.body_weldid > 0)]
        part = gui.add_dropdown("Part", tuple(moving), initial_value=names[player.follows])
        buttons = gui.add_button_group("Push", tuple(_DIRECTIONS))

        def push() -> None:
            force = float(newtons.value) * np.array(_DIRECTIONS[buttons.value])
            self._session.push(Push(names.index(part.value), None, force))

        buttons.on_click(lambda _: self._viewer.ask(push))

    def tell(self) -> None:
        """Show how it goes: numbers and plots."""
        session = self._session
        lines = [f"`{session.task}`"]
        steps = session.player.steps
        factor = f"{session.real_time_factor:.2f}x real time" if session.playing else "paused"
        lines.append(f"{steps:,} steps, {steps * session.period:.1f} s; {factor}")
        for player in session.visible:
            last = f"; last episode {player.returns[-1]:,.1f}" if player.returns else ""
            lines.append(f"{player.name}: return {player.total:,.1f}{last}")
        self._status.content = "  \n".join(lines)
        self._plot(session.visible)

    def _plot(self, players: list[Player]) -> None:
        shown = (self._session.chosen, *(player.name for player in players))
        chosen = self._session.player
        actions = np.array(chosen.actions[-_ACTIONS:]).reshape(-1, self._n_actions(chosen))
        data = [_returns(players), (np.arange(len(actions)) + chosen.steps - len(actions), *actions.T)]
        data = [tuple(np.asarray(row, dtype=float) for row in rows) for rows in data]
        if shown not in self._plots:  # a plot takes no other lines later, and removing one upsets pages
            names = chosen.inside.action_layout.names[: actions.shape[1]]
            titles = ("Return of the episode", f"Actions of {chosen.name}")
            lines = ([player.name for player in players], names)
            with self._plot_room:
                self._plots[shown] = [*map(self._add_plot, titles, data, lines)]
        with self._viewer.server.atomic():
            for key, plots in self._plots.items():
                for plot, rows in zip(plots, data, strict=True):
                    plot.visible = key == shown
                    if plot.visible:
                        plot.data = rows

    def _add_plot(self, title: str, rows: tuple[NDArray[np.float64], ...], lines: Sequence[str]) -> Any:
        series = ({"label": "step"}, *map(_line, lines, range(len(lines))))
        return self._gui.add_uplot(rows, series, title=title, scales={"x": {"time": False}}, height=210)

    @staticmethod
    def _n_actions(player: Player) -> int:
        return int(np.prod(player.env.single_action_space.shape or (1,)))

    def complain(self, message: str) -> None:
        """Show on all pages why something can't be done."""
        for client in self._viewer.server.get_clients().values():
            client.add_notification("That can't be done", message, color="red", auto_close_seconds=10.0)


def _line(label: str, number: int) -> dict[str, Any]:
    return {"label": label, "stroke": _COLOURS[number % len(_COLOURS)], "width": 1.5}


def _returns(players: list[Player]) -> tuple[NDArray[np.float64], ...]:
    """Steps, and the returns of each player after them; NaN after an episode's end. Shape of each: (n,)."""
    longest = max(player.steps for player in players)
    steps = np.unique(np.linspace(1, max(1, longest), _POINTS).astype(int))
    rows = []
    for player in players:
        row = np.full(len(steps), np.nan)
        there = steps <= player.steps
        row[there] = np.array(player.totals)[steps[there] - 1] if player.totals else np.nan
        rows.append(row)
    return (steps.astype(float), *rows)
