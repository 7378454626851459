"""Policies in real time: play, pause, slow motion, single steps, and other physics and pushes meanwhile."""

import time
from collections import deque
from collections.abc import Callable, Mapping

from warmstart.agents.checkpoints.policy import Policy
from warmstart.agents.viewer.player import Player, Push
from warmstart.core.errors import WarmstartError, unknown_name
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.tasks.contexts import Context, parse_context
from warmstart.envs.tasks.task import Task

LAG_SECONDS = 0.25
"""A session that is further behind its clock gives that time up; `Session.real_time_factor` tells of it."""
SLOWEST, FASTEST = 0.1, 4.0
_PUSH_SECONDS = 0.2


class Session:
    """Policies that act in the same task, each in a simulation of its own, by one clock.

    Args:
        policies: Who acts, by name.
        task: Where.
        seed: Seed of the first episode of each.
        clock: Seconds of some clock that doesn't go back.

    Attributes:
        players: One for each policy that has been shown, by name.
        names: Names of all policies.
        chosen: Name of the one that is shown.
        together: Whether all are shown, and simulated.
        playing: Whether time goes on.
        speed: Simulated seconds per second.
        shown: Number of control steps taken.
        changes: What was changed of the task's physics, by the key it was given with.

    Raises:
        WarmstartError: There is no policy, or the task can't be viewed.
    """

    def __init__(
        self,
        policies: Mapping[str, Policy],
        task: Task,
        seed: int = 0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if not policies:
            raise WarmstartError("Expected at least one policy to view, found none.")
        self._policies, self._clock = dict(policies), clock
        self.task, self.seed = task, seed
        self.names = tuple(policies)
        self.players: dict[str, Player] = {}
        self.chosen, self.together = self.names[0], len(self.names) > 1
        self.playing, self.speed = True, 1.0
        self.shown = 0
        self.changes: dict[str, Context] = {}
        self._due = self._began = clock()
        self._push_ends = float("inf")
        self._pace: deque[tuple[float, float]] = deque(maxlen=200)
        self.period = self.player.period

    @property
    def player(self) -> Player:
        """The one that is shown."""
        return self._player(self.chosen)

    @property
    def visible(self) -> list[Player]:
        """Those that are shown."""
        return [self._player(name) for name in (self.names if self.together else (self.chosen,))]

    @property
    def parameters(self) -> Parameters:
        """The task's physical parameters."""
        return self.player.inside.parameters

    @property
    def context(self) -> Context:
        """The physics in force: the task's, then what was changed."""
        return self.context_without("")

    def context_without(self, key: str) -> Context:
        """The physics without the changes that were given by a key."""
        kept = (changes for name, changes in self.changes.items() if name != key)
        return self.task.context + tuple(change for changes in kept for change in changes)

    def _player(self, name: str) -> Player:
        if name not in self.players:
            self.players[name] = Player(name, self._policies[name], self.task, self.seed)
            if self.changes:
                self.players[name].change(self.context)
        return self.players[name]

    def choose(self, name: str, together: bool = False) -> None:
        """Show one of the policies, or all, whose episodes then begin together.

        Raises:
            WarmstartError: There is no policy of that name.
        """
        if name not in self._policies:
            raise unknown_name("checkpoint", name, self._policies)
        self.release()
        anew = together and not self.together
        self.chosen, self.together = name, together
        if anew:
            self.reset()
        self._restart_clock()

    def play(self, playing: bool = True) -> None:
        """Let time go on, or stop it."""
        self.playing = playing
        self._restart_clock()

    def set_speed(self, speed: float) -> None:
        """Set simulated seconds per second, from 0.1 to 4.

        Raises:
            WarmstartError: It is outside.
        """
        if not SLOWEST <= speed <= FASTEST:
            raise WarmstartError(f"Expected a speed from {SLOWEST:g} to {FASTEST:g}, found {speed}.")
        self.speed = speed
        self._restart_clock()

    def reset(self, seed: int | None = None) -> None:
        """Begin the episodes anew with a seed, by default that of the first ones."""
        for player in self.visible:
            player.reset(self.seed if seed is None else seed)
        self._restart_clock()

    def change(self, key: str, changes: Context | str) -> None:
        """Put a change of the physics into force at once, in all simulations; their episodes go on.

        Args:
            key: What it replaces: the changes that were given by the same key before.
            changes: Changes or their text; none goes back to the task's physics.

        Raises:
            WarmstartError: A parameter is unknown, out of bounds or unsound, or it would have no effect;
                nothing has been changed then.
        """
        wanted = {**self.changes, key: parse_context(changes) if isinstance(changes, str) else changes}
        before, self.changes = self.changes, {name: part for name, part in wanted.items() if part}
        try:
            self.parameters.check(self.context)
            for player in self.players.values():
                player.change(self.context)
        except WarmstartError:
            self.changes = before
            raise

    def forget_changes(self) -> None:
        """Go back to the task's physics."""
        self.changes = {}
        for player in self.players.values():
            player.change(self.context)

    def push(self, push: Push, name: str | None = None, seconds: float | None = _PUSH_SECONDS) -> None:
        """Push a body of one policy's robot, or of all that are shown.

        Args:
            push: The force.
            name: Whose; None is all that are shown.
            seconds: For how long of simulated time; None is until `release`.
        """
        for player in self.visible:
            if name is None or player.name == name:
                player.hand.push = push
        steps = float("inf") if seconds is None else max(1, round(seconds / self.period))
        self._push_ends = self.shown + steps

    def release(self) -> None:
        """End all pushes."""
        for player in self.players.values():
            player.hand.push = None
        self._push_ends = float("inf")

    def step(self) -> None:
        """Take one control step with all that are shown."""
        for player in self.visible:
            player.step()
        self.shown += 1
        if self.shown >= self._push_ends:
            self.release()

    def proceed(self) -> bool:
        """Take the control step that is due, if one is.

        Returns:
            Whether one was taken.
        """
        now = self._clock()
        if not self.playing or now < self._due:
            return False
        self.step()
        self._began = now
        self._pace.append((now, self.shown * self.period))
        self._due += self.period / self.speed
        if now - self._due > LAG_SECONDS:
            self._due = now
        return True

    @property
    def wait(self) -> float:
        """Seconds until the next step is due; infinite while paused."""
        return max(0.0, self._due - self._clock()) if self.playing else float("inf")

    @property
    def share(self) -> float:
        """How much of the last control step's time has gone by: what to show of it. From 0 to 1."""
        if not self.playing:
            return 1.0
        return min(1.0, max(0.0, (self._clock() - self._began) * self.speed / self.period))

    @property
    def real_time_factor(self) -> float:
        """Simulated seconds per second over the last two seconds; 0 while paused."""
        recent = [each for each in self._pace if each[0] > self._clock() - 2.0]
        if not self.playing or len(recent) < 2:
            return 0.0
        (first, begin), (last, end) = recent[0], recent[-1]
        return (end - begin) / (last - first) if last > first else 0.0

    def _restart_clock(self) -> None:
        self._due = self._began = self._clock()
        self._pace.clear()

    def close(self) -> None:
        """Stop all simulations."""
        for player in self.players.values():
            player.close()
