"""Whether changing a physical parameter can make any difference in its model.

MuJoCo accepts many changes that do nothing (the friction of the more slippery of two touching geoms,
wind without a medium); asked for by name they are errors here, not silent.
"""

from collections.abc import Sequence
from functools import cached_property

import mujoco
import numpy as np
from numpy.typing import NDArray

from warmstart.envs.physics.quantity import Entry, Values
from warmstart.envs.simulation.names import PartNames

Floats = NDArray[np.float64]


class Effects:
    """Answers whether changes of a model's parameters have any effect."""

    def __init__(self, model: mujoco.MjModel, names: PartNames) -> None:
        self._model = model
        self._names = names

    def why_none(self, entries: Sequence[Entry], before: Values, after: Values) -> str | None:
        """Return why changing these parameters together does nothing, or ``None`` if it may do something.

        Args:
            entries: The parameters that differ between ``before`` and ``after``.
            before: The values of all parameters without the change.
            after: The values with it.
        """
        reasons = []
        for entry in entries:
            if entry.quantity.name == "friction":
                continue
            reason = entry.quantity.no_effect(self, entry, before, after)
            if reason is None:
                return None
            reasons.append(f"{entry.parameter.name}: {reason}")
        touching = [entry for entry in entries if entry.quantity.name == "friction"]
        if touching:
            reason = self._why_no_friction(touching, before, after)
            if reason is None:
                return None
            reasons.append(reason)
        return reasons[0] if reasons else None

    def gravity(self, entry: Entry, before: Values, after: Values) -> str | None:
        """Why a change of gravity does nothing; as the methods below, for one quantity each."""
        moved = before(entry.parameter.name) != after(entry.parameter.name)
        return None if self._weighs[moved].any() else "it pulls on no joint of this model"

    def wind(self, entry: Entry, before: Values, after: Values) -> str | None:  # noqa: ARG002
        """Without a medium there is no wind."""
        return None if self._medium(after) else "there is no medium; add density=1.2 (air, kg/m3)"

    def springref(self, entry: Entry, before: Values, after: Values) -> str | None:  # noqa: ARG002
        """A spring's rest position needs a spring."""
        stiff = after(entry.parameter.name.replace(".springref", ".stiffness"))[0]
        return None if stiff else "the joint has no spring; add its stiffness"

    def size(self, entry: Entry, before: Values, after: Values) -> str | None:  # noqa: ARG002
        """A size acts in contacts, and in a fluid whose model takes the geom's shape."""
        pairs = np.concatenate((self._model.pair_geom1, self._model.pair_geom2))
        shaped = self._model.geom_fluid[entry.index, 0]
        acts = shaped or entry.index in pairs or self._partners[entry.index].any()
        return None if acts else "it never touches another geom, and size doesn't change mass"

    def solref(self, entry: Entry, before: Values, after: Values) -> str | None:  # noqa: ARG002
        """Of two touching geoms, the one of higher priority decides."""
        decides = self._model.geom_priority[entry.index] >= self._model.geom_priority
        acts = (self._partners[entry.index] & decides).any()
        return None if acts else "it touches no geom in whose contacts its own number counts"

    def mass(self, entry: Entry, before: Values, after: Values) -> str | None:  # noqa: ARG002
        """Inertia matters where something acts on the body."""
        return self._why_no_inertia(entry.index, after)

    def com(self, entry: Entry, before: Values, after: Values) -> str | None:
        """A centre of mass needs a lever."""
        if not self._turns[entry.index]:
            return "the body only slides, and what doesn't turn has no lever"
        return self.mass(entry, before, after)

    def armature(self, entry: Entry, before: Values, after: Values) -> str | None:  # noqa: ARG002
        """An armature that nothing turns against."""
        return self._why_no_inertia(int(self._model.jnt_bodyid[entry.index]), after)

    def forcerange(self, entry: Entry, before: Values, after: Values) -> str | None:  # noqa: ARG002
        """A limit acts where the motor's force could pass it."""
        return self._why_no_limit(entry.index, after(entry.parameter.name))

    @staticmethod
    def _medium(values: Values) -> bool:
        return bool(values("option.density")[0] or values("option.viscosity")[0])

    def _why_no_inertia(self, body: int, after: Values) -> str | None:
        alone = self._unforced[self._model.body_treeid[body]] and not self._medium(after)
        return "nothing pushes or pulls on it, so its inertia never matters" if alone else None

    def _why_no_limit(self, index: int, limits: Floats) -> str | None:
        """Return why a motor never reaches a force limit, if that is certain."""
        model = self._model
        control = int(model.actuator_ctrladr[index])
        plain = (
            int(model.actuator_gaintype[index]) == mujoco.mjtGain.mjGAIN_FIXED
            and int(model.actuator_biastype[index]) == mujoco.mjtBias.mjBIAS_NONE
            and int(model.actuator_dyntype[index]) == mujoco.mjtDyn.mjDYN_NONE
            and model.actuator_ctrllimited[control]
        )
        reached = np.sort(model.actuator_ctrlrange[control] * model.actuator_gainprm[index, 0])
        if (
            plain
            and not model.actuator_forcelimited[index]
            and limits[0] <= reached[0]
            and reached[1] <= limits[1]
        ):
            return (
                f"the motor's force, before its gear, stays within [{reached[0]:g}, {reached[1]:g}] anyway; "
                "write a smaller range"
            )
        return None

    @cached_property
    def _weighs(self) -> NDArray[np.bool_]:
        """Whether each component of gravity acts on each degree of freedom in any of a few poses."""
        model = mujoco.MjModel.__copy__(self._model)
        model.opt.disableflags = int(mujoco.mjtDisableBit.mjDSBL_CONSTRAINT)
        data, rng = mujoco.MjData(model), np.random.default_rng(0)
        weighs = np.zeros((3, model.nv), dtype=bool)
        for _ in range(4):
            mujoco.mj_integratePos(model, data.qpos, rng.normal(size=model.nv), 1.0)
            for axis in range(3):
                model.opt.gravity = np.eye(3)[axis]
                mujoco.mj_forward(model, data)
                weighs[axis] |= np.abs(data.qfrc_bias - data.qfrc_gravcomp) > 1e-9
        return weighs

    @cached_property
    def _turns(self) -> NDArray[np.bool_]:
        """Whether each body can turn, by a joint of its own or of a body that carries it."""
        model = self._model
        turns = np.zeros(model.nbody, dtype=bool)
        turns[model.jnt_bodyid[model.jnt_type != mujoco.mjtJoint.mjJNT_SLIDE]] = True
        for body in range(1, model.nbody):
            turns[body] |= turns[model.body_parentid[body]]
        return turns

    @cached_property
    def _unforced(self) -> NDArray[np.bool_]:
        """Whether nothing acts on a tree of slides, so that it keeps its velocity. Shape: (ntree,)."""
        model = self._model
        forced = np.zeros(model.ntree, dtype=bool)
        if model.neq or model.ntendon or model.npair or not np.isin(model.actuator_trntype, (0, 1)).all():
            return forced
        dofs = self._weighs[model.opt.gravity != 0].any(axis=0)
        dofs |= (model.dof_damping != 0) | (model.dof_frictionloss != 0)
        joints = (model.jnt_stiffness != 0) | (model.jnt_type != mujoco.mjtJoint.mjJNT_SLIDE)
        joints[model.actuator_trnid[:, 0]] = True
        touched = model.body_treeid[model.geom_bodyid[self._partners.any(axis=1)]]
        for trees in (
            model.dof_treeid[dofs],
            model.body_treeid[model.jnt_bodyid[joints]],
            touched[touched >= 0],
        ):
            forced[trees] = True
        return ~forced

    @cached_property
    def _partners(self) -> NDArray[np.bool_]:
        """Whether two geoms can touch, other than as an explicit contact pair. Shape: (ngeom, ngeom)."""
        model = self._model
        types, affinities = model.geom_contype, model.geom_conaffinity
        can = (types[:, None] & affinities[None, :]) | (types[None, :] & affinities[:, None]) != 0
        body = model.geom_bodyid
        weld = model.body_weldid[body]
        can &= weld[:, None] != weld[None, :]
        if not int(model.opt.disableflags) & int(mujoco.mjtDisableBit.mjDSBL_FILTERPARENT):
            parent = model.body_weldid[model.body_parentid[weld]]
            child = (parent[:, None] == weld[None, :]) & (weld[None, :] != 0) & (weld[:, None] != 0)
            can &= ~(child | child.T)
        low, high = np.minimum(body[:, None], body[None, :]), np.maximum(body[:, None], body[None, :])
        can &= ~np.isin((low << 16) + high, model.exclude_signature)
        first, second = model.pair_geom1, model.pair_geom2
        can[first, second] = can[second, first] = False
        return np.asarray(can)

    @cached_property
    def _components(self) -> NDArray[np.intp]:
        """How many of the three coefficients act in a contact of two geoms. Shape: (ngeom, ngeom)."""
        dims, priority = self._model.geom_condim, self._model.geom_priority
        pair = np.where(
            priority[:, None] == priority[None, :],
            np.maximum(dims[:, None], dims[None, :]),
            np.where(priority[:, None] > priority[None, :], dims[:, None], dims[None, :]),
        )
        return np.asarray(np.vectorize({1: 0, 3: 1, 4: 2, 6: 3}.__getitem__)(pair) if pair.size else pair)

    def _contact_friction(self, friction: Floats) -> Floats:
        """Combine the geoms' coefficients as MuJoCo does in a contact. Shape: (ngeom, ngeom, 3)."""
        priority = self._model.geom_priority
        mine, yours = friction[:, None, :], friction[None, :, :]
        larger = np.maximum(mine, yours)
        above = (priority[:, None] > priority[None, :])[..., None]
        below = (priority[:, None] < priority[None, :])[..., None]
        return np.where(above, mine, np.where(below, yours, larger))

    def _why_no_friction(self, entries: Sequence[Entry], before: Values, after: Values) -> str | None:
        """Return why changed frictions of geoms change the friction of no possible contact."""
        if any(entry.parameter.name.startswith("pair.") for entry in entries):
            return None
        old, new = (
            np.array([values(f"geom.{name}.friction") for name in self._names.geoms])
            for values in (before, after)
        )
        differs = self._contact_friction(old) != self._contact_friction(new)
        acts = np.arange(3) < self._components[..., None]
        if np.any(differs & acts & self._partners[..., None]):
            return None
        mine = [entry.index for entry in entries]
        name = entries[0].parameter.name if len(entries) == 1 else "friction"
        partners = np.flatnonzero(self._partners[mine].any(axis=0))
        if not partners.size:
            return f"{name}: nothing it belongs to can touch anything (contype and conaffinity)"
        slippery = not (self._components[mine][self._partners[mine]] > 0).any()
        if slippery:
            return f"{name}: its contacts are frictionless (condim 1)"
        other = max(partners, key=lambda i: float(new[i, 0]))
        return (
            f"{name}: MuJoCo takes the larger friction of two touching geoms, and that of "
            f"{self._names.geoms[other]!r} is {new[other, 0]:g}; write friction=x… to scale both sides, "
            f"or also change {self._names.geoms[other]}.friction"
        )
