"""The physical parameters of a MuJoCo model, and a context applied to one model.

Values are always computed from the cached nominal, never from the current value, so nothing compounds.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError
from warmstart.envs.physics.cameras import Camera
from warmstart.envs.physics.catalogue import Selection, catalogue
from warmstart.envs.physics.changes import FieldWrite, changed, check_sound
from warmstart.envs.physics.effects import Effects
from warmstart.envs.physics.quantity import Entry, Parameter
from warmstart.envs.simulation.fields import Ids, ModelFields, read_field, write_field
from warmstart.envs.simulation.names import PartNames
from warmstart.envs.tasks.contexts import Context

Floats = NDArray[np.float64]
_REMEMBERED = 4096  # resolved contexts: a curriculum may go through any number of them


class Parameters:
    """The physical parameters of a model.

    Args:
        model: The model with its nominal values, which are cached; it is not kept.
        short_names: Further short names and the selectors they stand for (``{"load": "body.box.mass"}``).
        frame_skip: Timesteps per control step; with it, :meth:`check` also refuses a timestep that does
            not divide the control period.
        camera: Where frames are seen from; with it, there are visual parameters, too.

    Attributes:
        names: The parameters' names.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        short_names: Mapping[str, str | tuple[str, ...]] | None = None,
        *,
        frame_skip: int | None = None,
        camera: Camera | None = None,
    ) -> None:
        self._model = mujoco.MjModel.__copy__(model)
        parts = PartNames(self._model)
        found = catalogue(self._model, parts, camera)
        self._entries = found.entries
        self._selection = Selection(found, short_names or {})
        self._effects = Effects(self._model, parts)
        self._frame_skip = frame_skip
        self._resolved: dict[Context, Floats] = {}
        self.names = tuple(self._entries)
        self.columns: dict[str, slice] = {}
        start = 0
        for name, entry in self._entries.items():
            self.columns[name] = slice(start, start + entry.parameter.size)
            start += entry.parameter.size
        parameters = [entry.parameter for entry in self._entries.values()]
        self.nominal = np.array([v for p in parameters for v in p.nominal])
        self.low = np.array([v for p in parameters for v in p.low])
        self.high = np.array([v for p in parameters for v in p.high])
        self.pivot = np.array([v for entry in self._entries.values() for v in entry.pivot])
        self._all = self.compile(np.arange(len(self.nominal)))

    def select(self, selector: str) -> tuple[Parameter, ...]:
        """Return the parameters that a selector means: a full name, a short name or a glob.

        Raises:
            WarmstartError: There is no such parameter (the nearest are named), or it can't be changed.
        """
        return tuple(entry.parameter for entry, _ in self._selection.find(selector))

    def check(self, context: Context) -> None:
        """Check a context against the model.

        Raises:
            WarmstartError: A name is unknown, a value is out of bounds or unsound, or a change would have
                no effect.
        """
        self.resolve(context)

    def resolve(self, context: Context) -> Floats:
        """Return the value of every parameter's components under a context. Shape: (total size,).

        For each parameter the more specific change wins, at equal specificity the later one.

        Raises:
            WarmstartError: As for :meth:`check`.
        """
        if context not in self._resolved:
            values = self._resolve(context)
            values.flags.writeable = False
            if len(self._resolved) >= _REMEMBERED:
                self._resolved.clear()
            self._resolved[context] = values
        return self._resolved[context]

    def _resolve(self, context: Context) -> Floats:
        values = self.nominal.copy()
        for position, entries in self.winners([change.selector for change in context]).items():
            for entry in entries:
                values[self.columns[entry.parameter.name]] = changed(entry, context[position])
        self._check_values(values)
        self._check_effects(context, values)
        if self._frame_skip is not None:
            self.frame_skip(context, self._frame_skip, values)
        return values

    def winners(self, selectors: Sequence[str]) -> dict[int, list[Entry]]:
        """Return which parameters each of several selectors decides about, by the selector's position."""
        best: dict[str, tuple[int, int, Entry]] = {}
        for position, selector in enumerate(selectors):
            for entry, specificity in self._selection.find(selector):
                name = entry.parameter.name
                if name not in best or specificity >= best[name][0]:
                    best[name] = (specificity, position, entry)
        won: dict[int, list[Entry]] = {}
        for _, position, entry in best.values():
            won.setdefault(position, []).append(entry)
        return won

    def _check_values(self, values: Floats) -> None:
        for name in self._names_of(np.flatnonzero(values != self.nominal)):
            check_sound(self._entries[name], values[self.columns[name]])

    def _check_effects(self, context: Context, after: Floats) -> None:
        """Refuse a change that does nothing."""
        for position, entries in self.winners([change.selector for change in context]).items():
            change, nominal = context[position], after.copy()
            for entry in entries:
                nominal[self.columns[entry.parameter.name]] = entry.parameter.nominal
            one = change.operation == "scale" and change.value == 1
            reason = None if one else self.why_no_effect(entries, nominal, after)
            if reason is not None:
                raise WarmstartError(f"{change} would have no effect: {reason}.")

    def why_no_effect(self, entries: Sequence[Entry], before: Floats, after: Floats) -> str | None:
        """Return why giving some parameters other values does nothing, or ``None`` if it may do something.

        Args:
            entries: The parameters.
            before: The value vector in which these have their values without the change. Shape: (total
                size,).
            after: The value vector with it. Shape: (total size,).
        """
        differs = [e for e in entries if np.any(self._part(before, e) != self._part(after, e))]
        if differs:
            return self._effects.why_none(
                differs,
                lambda name: self._part(before, self._entries[name]),
                lambda name: self._part(after, self._entries[name]),
            )
        if not any(np.any(self._part(before, entry) - entry.pivot) for entry in entries):
            names = entries[0].parameter.name + (f" and {len(entries) - 1} more" if len(entries) > 1 else "")
            return f"{names}: the nominal value is 0, and scaled it stays 0; set it or add to it"
        return None

    def _part(self, values: Floats, entry: Entry) -> Floats:
        return values[self.columns[entry.parameter.name]]

    def _names_of(self, columns: Iterable[int]) -> list[str]:
        wanted = set(map(int, columns))
        return [
            name for name, part in self.columns.items() if wanted.intersection(range(part.start, part.stop))
        ]

    def frame_skip(self, context: Context, nominal: int, values: Floats | None = None) -> int:
        """Return the timesteps per control step that keep the control period under a context.

        Args:
            context: The context, whose timestep may differ.
            nominal: Timesteps per control step of the nominal model.
            values: The context's values, if they are known. Shape: (total size,).

        Raises:
            WarmstartError: The context's timestep does not divide the control period.
        """
        column = self.columns["option.timestep"]
        resolved = self.resolve(context) if values is None else values
        old, new = float(self.nominal[column][0]), float(resolved[column][0])
        ratio = nominal * old / new
        steps = max(1, round(ratio))
        if abs(ratio - steps) > 1e-6 * steps:
            raise WarmstartError(
                f"option.timestep: the control period of {nominal * old:g} s stays fixed and is no whole "
                f"number of timesteps of {new:g} s; write timestep={nominal * old / steps:.10g} "
                f"({steps} per control step)."
            )
        return steps

    def compile(self, columns: Ids) -> tuple[FieldWrite, ...]:
        """Group what is written when these columns of the value vector, shape (k,), change, by field."""
        place = {int(column): position for position, column in enumerate(columns)}
        groups: dict[tuple[str, str], list[tuple[int, int, float]]] = {}
        for name in self._names_of(columns):
            entry, start = self._entries[name], self.columns[name].start
            for write in entry.writes:
                if (column := start + write.source) in place:
                    item = (write.target, place[column], self.nominal[column])
                    groups.setdefault((write.field, write.rule), []).append(item)
        return tuple(FieldWrite(self._model, *key, items) for key, items in groups.items())

    def apply(self, model: mujoco.MjModel, context: Context) -> None:
        """Give one model the physics of a context, in place; what an earlier one changed is restored.

        Args:
            model: A model of the structure these parameters were made from.
            context: The context; ``()`` restores the nominal values.

        Raises:
            WarmstartError: As for :meth:`check`, or the model has another structure.
        """
        values = self.resolve(context)[None, :]
        self._check_structure(model)
        fields = ModelFields([model])
        one, derived, written = np.zeros(1, dtype=np.intp), False, False
        for write in self._all:
            field = fields.field(write.field).reshape(1, -1)
            new = write.values(values).astype(field.dtype)
            if not np.array_equal(field[0, write.targets], new[0]):
                field[0, write.targets] = new[0]
                written, derived = True, derived or write.derived
        if derived:
            fields.set_const(one)
        elif written:
            fields.commit(one)

    def reinstate(self, model: mujoco.MjModel, values: Floats) -> tuple[str, ...]:
        """Write again what was given other than nominal values and has been overwritten since.

        Args:
            model: The model, in place.
            values: What its parameters were given. Shape: (total size,).

        Returns:
            The fields that had been overwritten.
        """
        return self._rewrite(model, values, back=False)

    def revert(self, model: mujoco.MjModel, values: Floats) -> None:
        """Give a model that was made of a changed one nominal values where it has what that was given.

        Args:
            model: The new model, in place; one of another structure stays as it is.
            values: What the parameters of the old one were given. Shape: (total size,).
        """
        with contextlib.suppress(WarmstartError):
            self._check_structure(model)
            self._rewrite(model, values, back=True)

    def _rewrite(self, model: mujoco.MjModel, values: Floats, back: bool) -> tuple[str, ...]:
        """Write given values where they are missing, or nominal ones where given ones are; says where."""
        written, derived = list[str](), False
        for write in self._all if (values != self.nominal).any() else ():
            given, nominal = write.values(np.stack([values, self.nominal]))
            field = read_field(model, write.field).copy()
            flat = field.reshape(-1)
            given, nominal = given.astype(field.dtype), nominal.astype(field.dtype)
            chosen = (given != nominal) & ((flat[write.targets] == given) == back)
            if chosen.any():
                flat[write.targets[chosen]] = (nominal if back else given)[chosen]
                write_field(model, write.field, field)
                written.append(write.field)
                derived |= write.derived
        if derived:
            mujoco.mj_setConst(model, mujoco.MjData(model))
        return tuple(written)

    def _check_structure(self, model: mujoco.MjModel) -> None:
        for size in ("nbody", "ngeom", "njnt", "nq", "nv", "nu", "npair"):
            expected, found = getattr(self._model, size), getattr(model, size)
            if expected != found:
                raise WarmstartError(
                    f"These parameters belong to a model with {size}={expected}, found {size}={found}; "
                    "make Parameters from this model."
                )
