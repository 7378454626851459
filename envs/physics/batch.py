"""Physical parameters with a value per simulation: what contexts give, and terms drawn on top of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmstart.core.errors import WarmstartError
from warmstart.envs.physics.changes import FieldWrite, check_sound
from warmstart.envs.physics.parameters import Parameters
from warmstart.envs.physics.quantity import Entry
from warmstart.envs.simulation.fields import Fields, Ids
from warmstart.envs.tasks.contexts import Context, Operation

Floats = NDArray[np.float64]


class BatchParameters:
    """Physical parameters with a value per simulation.

    ``mj_setConst`` overwrites qpos: apply before the start state is written.

    Args:
        parameters: The parameters of the simulations' model.
        fields: A stepper or :class:`ModelFields`, all nominal.
    """

    def __init__(self, parameters: Parameters, fields: Fields) -> None:
        self.parameters = parameters
        self._fields = fields
        self._flat: dict[str, NDArray[Any]] = {}
        self._plans: dict[bytes, tuple[FieldWrite, ...]] = {}
        # what the contexts give, and what the simulations have (bindings included)
        self._base = np.tile(parameters.nominal, (fields.nsim, 1))
        self._current = self._base.copy()

    def apply(self, ids: Sequence[int] | Ids, contexts: Sequence[Context]) -> None:
        """Give simulations their contexts; whatever was changed there before goes back to nominal.

        Args:
            ids: The simulations, none twice. Shape: (n,).
            contexts: The context of each of them.

        Raises:
            WarmstartError: As for :meth:`Parameters.check`; nothing has been changed then.
        """
        rows = np.asarray(ids, dtype=np.intp)
        if len(rows) != len(contexts):
            raise WarmstartError(
                f"Expected a context for each of {len(rows)} simulations, found {len(contexts)}."
            )
        if len(rows):
            self._set(rows, np.stack([self.parameters.resolve(context) for context in contexts]))

    def _set(self, rows: Ids, values: Floats) -> None:
        self._base[rows] = values
        columns = np.flatnonzero((self._current[rows] != values).any(axis=0))
        key = columns.tobytes()
        if key not in self._plans:
            self._plans[key] = self.parameters.compile(columns)
        self.overwrite(rows, columns, values[:, columns], self._plans[key])

    def current(self, row: int) -> Floats:
        """Return the values that a simulation has, bindings included. Shape: (total size,)."""
        values: Floats = self._current[row]
        return values

    def base(self, rows: Ids, columns: Ids) -> Floats:
        """Return what the contexts give, without bindings. Shapes: (n,) and (k,) to (n, k)."""
        return self._base[rows[:, None], columns]

    def overwrite(self, rows: Ids, columns: Ids, values: Floats, writes: Sequence[FieldWrite]) -> None:
        """Give components of some simulations new values.

        Args:
            rows: The simulations. Shape: (n,).
            columns: The components' places in the value vector. Shape: (k,).
            values: Their values. Shape: (n, k).
            writes: What `Parameters.compile` made of the columns.
        """
        index, derived = rows[:, None], False
        self._current[index, columns] = values
        for write in writes:
            self._row(write.field)[index, write.targets] = write.values(values)
            derived |= write.derived
        in_order = np.sort(rows)  # which mujoco.batch insists on
        if derived:
            self._fields.set_const(in_order)
        elif writes:
            self._fields.commit(in_order)

    def _row(self, name: str) -> NDArray[Any]:
        """Return a field's live values with one row per simulation. Shape: (nsim, elements)."""
        if name not in self._flat:
            field = self._fields.field(name)
            flat = field.reshape(self._fields.nsim, -1)
            if not np.shares_memory(flat, field):
                raise TypeError(
                    f"The field {name!r} is not laid out row by row, so it can't be written in place."
                )
            self._flat[name] = flat
        return self._flat[name]

    def bind(self, terms: Sequence[tuple[str, Operation]]) -> "Binding":
        """Prepare to write the same terms again and again, one number per term and simulation.

        ``scale`` and ``add`` act on what the simulation's context gives, so a randomized target task
        varies about the target. Where terms overlap, the more specific wins, then the later.

        Raises:
            WarmstartError: A name is unknown or a term takes a vector. That a term could have no effect
                is noticed by the binding's first ``apply``, when the contexts are in force.
        """
        return Binding(self, terms)

    def values(self, names: Sequence[str]) -> Floats:
        """Return the current values of parameters given by name or selector. Shape: (nsim, total size)."""
        found = [p.name for name in names for p in self.parameters.select(name)]
        if not found:
            return np.zeros((self._fields.nsim, 0))
        return np.concatenate([self._current[:, self.parameters.columns[name]] for name in found], axis=1)

    def state_dict(self) -> dict[str, Floats]:
        """Return the values that the simulations have. Shape of each: (nsim, total size)."""
        return {"base": self._base.copy(), "current": self._current.copy()}

    def load_state_dict(self, state: Mapping[str, Floats]) -> None:
        """Give the simulations the values of a :meth:`state_dict`, in its shapes, fields included."""
        self._set(np.arange(self._fields.nsim), state["current"])
        self._base[...] = state["base"]


class Binding:
    """Writes the same terms again and again; made by :meth:`BatchParameters.bind`.

    Attributes:
        terms: The terms: selector and operation.
    """

    def __init__(self, owner: BatchParameters, terms: Sequence[tuple[str, Operation]]) -> None:
        parameters = owner.parameters
        self.terms = tuple(terms)
        self._owner = owner
        self._won = parameters.winners([selector for selector, _ in terms])
        columns: dict[Operation, list[tuple[int, int]]] = {"set": [], "scale": [], "add": []}
        for position, entries in self._won.items():
            selector, operation = terms[position]
            for entry in entries:
                _check_bindable(entry, selector, operation)
                start = parameters.columns[entry.parameter.name].start
                parts = range(entry.parameter.size) if operation == "scale" else entry.scalar
                columns[operation] += [(start + part, position) for part in parts]
        ordered = [*columns["set"], *columns["scale"], *columns["add"]]
        self._columns = np.array([column for column, _ in ordered], dtype=np.intp)
        self._terms = np.array([term for _, term in ordered], dtype=np.intp)
        added = len(columns["set"]) + len(columns["scale"])
        self._scaled, self._added = slice(len(columns["set"]), added), slice(added, None)
        self._low, self._high = parameters.low[self._columns], parameters.high[self._columns]
        pivot = parameters.pivot[self._columns[self._scaled]]
        self._pivot = pivot if pivot.any() else None
        self._writes = parameters.compile(self._columns)
        self._limits = self._limit_pairs()
        self._checked = False

    def apply(self, ids: Sequence[int] | Ids, values: NDArray[Any]) -> None:
        """Write the terms' values for some simulations.

        Args:
            ids: The simulations, none twice. Shape: (n,).
            values: The value of every term for each of them; NaN leaves it as the context has it. Shape: (n,
                number of terms).

        Raises:
            WarmstartError: A resulting value is out of bounds, or, the first time, a term could make no
                difference in these simulations' contexts; nothing has been changed then.
        """
        rows, drawn = np.asarray(ids, dtype=np.intp), np.asarray(values, dtype=float)
        if drawn.shape != (len(rows), len(self.terms)):
            raise WarmstartError(
                f"Expected values of shape {(len(rows), len(self.terms))} (simulations, terms), "
                f"found {drawn.shape}."
            )
        if not drawn.size:
            return
        if not self._checked:
            self._check_effects(rows[:1])
            self._checked = True
        base = self._owner.base(rows, self._columns)
        found = self._values(base, drawn)
        left = np.isnan(found)
        if left.any():
            found[left] = base[left]
        within = (found >= self._low) & (found <= self._high)
        ordered = self._limits is None or (found[:, self._limits[0]] < found[:, self._limits[1]]).all()
        if not (ordered and within.all()):
            self._refuse(rows, found)
        self._owner.overwrite(rows, self._columns, found, self._writes)

    def check(self, low: NDArray[Any], high: NDArray[Any]) -> None:
        """See that the ends of what will be drawn are sound in the first simulation's context.

        Args:
            low: Smallest number of every term. Shape: (number of terms,).
            high: Largest number of every term. Shape: (number of terms,).

        Raises:
            WarmstartError: A term reaches values out of bounds.
        """
        parameters, row = self._owner.parameters, np.zeros(1, dtype=np.intp)
        base = self._owner.base(row, np.arange(len(parameters.nominal)))[0]
        for drawn in (low, high):
            values = base.copy()
            values[self._columns] = self._values(base[None, self._columns], np.asarray(drawn)[None])[0]
            for position, entries in self._won.items():
                for entry in entries:
                    try:
                        check_sound(entry, values[parameters.columns[entry.parameter.name]])
                    except WarmstartError as error:
                        selector, operation = self.terms[position]
                        raise WarmstartError(
                            f"{selector} ({operation} {low[position]:g} to {high[position]:g}) reaches "
                            f"values that can't be: {error}"
                        ) from None

    def _values(self, base: Floats, drawn: Floats) -> Floats:
        """Return the bound components (n, columns) from what the contexts give and the terms' numbers."""
        found: Floats = drawn[:, self._terms]
        scaled = found[:, self._scaled]
        shift = (1 - scaled) * self._pivot if self._pivot is not None else None
        scaled *= base[:, self._scaled]
        if shift is not None:
            scaled += shift
        found[:, self._added] += base[:, self._added]
        return found

    def _limit_pairs(self) -> tuple[Ids, Ids] | None:
        """Return the positions of lower and upper limits among the bound components."""
        place = {int(column): position for position, column in enumerate(self._columns)}
        starts = [
            self._owner.parameters.columns[entry.parameter.name].start
            for entries in self._won.values()
            for entry in entries
            if entry.quantity.ordered
        ]
        if not starts:
            return None
        low, high = [place[start] for start in starts], [place[start + 1] for start in starts]
        return np.array(low, dtype=np.intp), np.array(high, dtype=np.intp)

    def _refuse(self, rows: Ids, found: Floats) -> None:
        """Raise the error for the first simulation whose values are unsound."""
        parameters = self._owner.parameters
        for row, values in zip(rows, found, strict=True):
            full = self._owner.base(np.array([row]), np.arange(len(parameters.nominal)))[0]
            full[self._columns] = values
            for entries in self._won.values():
                for entry in entries:
                    check_sound(entry, full[parameters.columns[entry.parameter.name]])
        raise WarmstartError(f"Expected sound values for the terms {self.terms}, found some that are not.")

    def _check_effects(self, row: Ids) -> None:
        """Refuse a term of which no value would make a difference in a simulation's context."""
        parameters = self._owner.parameters
        base = self._owner.base(row, np.arange(len(parameters.nominal)))[0]
        ends = []
        for larger in (True, False):
            after = base.copy()
            after[self._columns] = self._probe(base[self._columns], larger)
            ends.append(after)
        for position, entries in self._won.items():
            selector, operation = self.terms[position]
            reasons = [parameters.why_no_effect(entries, base, after) for after in ends]
            if all(reasons):
                raise WarmstartError(f"Varying {selector} ({operation}) would have no effect: {reasons[0]}.")

    def _probe(self, base: Floats, larger: bool) -> Floats:
        """Return an extreme value of every bound component."""
        end = np.where(np.isfinite(self._high), self._high if larger else self._low, 1.0)
        scale = 2.0 if larger else 0.5
        end[self._scaled] = base[self._scaled] * scale
        if self._pivot is not None:
            end[self._scaled] += (1 - scale) * self._pivot
        return end


def _check_bindable(entry: Entry, selector: str, operation: Operation) -> None:
    name = entry.parameter.name
    if not entry.quantity.varies:
        raise WarmstartError(
            f"{name} can't vary between episodes: the control period must stay a whole number of timesteps; "
            "give it in the task instead."
        )
    if operation != "scale" and not entry.scalar:
        raise WarmstartError(
            f"{name} takes a vector {entry.quantity.meaning}, and a term gives one number; "
            f"scale {selector} instead."
        )
