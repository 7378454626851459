"""Stable names for the parts of any MuJoCo model, also for those that its file leaves unnamed."""

from collections.abc import Callable

import mujoco


class PartNames:
    """Names of a model's bodies, geoms, joints, actuators and contact pairs, by index.

    A part without a name takes that of its parent and its index among the parent's unnamed parts:
    a body, geom or joint ``PARENTBODY_0``. An actuator takes the name of its joint, tendon, site or
    body (``NAME_1`` for a second one on the same joint). A name that is taken gets an underscore.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self.bodies: list[str] = [model.body(i).name for i in range(model.nbody)]
        _fill(self.bodies, lambda i: self.bodies[model.body_parentid[i]], numbered=True)
        self.geoms: list[str] = [model.geom(i).name for i in range(model.ngeom)]
        _fill(self.geoms, lambda i: self.bodies[model.geom_bodyid[i]], numbered=True)
        self.joints: list[str] = [model.joint(i).name for i in range(model.njnt)]
        _fill(self.joints, lambda i: self.bodies[model.jnt_bodyid[i]], numbered=True)
        self.actuators: list[str] = [model.actuator(i).name for i in range(model.nactuator)]
        _fill(self.actuators, lambda i: self._transmission(model, i), numbered=False)
        self.pairs: list[str] = [model.pair(i).name for i in range(model.npair)]
        _fill(self.pairs, lambda i: self._pair(model, i), numbered=False)

    def _transmission(self, model: mujoco.MjModel, index: int) -> str:
        kind, target = int(model.actuator_trntype[index]), int(model.actuator_trnid[index, 0])
        types = mujoco.mjtTrn
        if kind in (types.mjTRN_JOINT, types.mjTRN_JOINTINPARENT):
            return self.joints[target]
        if kind == types.mjTRN_BODY:
            return self.bodies[target]
        if kind == types.mjTRN_TENDON:
            tendon: str = model.tendon(target).name
            return tendon or f"tendon_{target}"
        if kind in (types.mjTRN_SITE, types.mjTRN_SLIDERCRANK):
            site: str = model.site(target).name
            return site or f"site_{target}"
        return f"actuator_{index}"

    def _pair(self, model: mujoco.MjModel, index: int) -> str:
        return f"{self.geoms[model.pair_geom1[index]]}_{self.geoms[model.pair_geom2[index]]}"


def _fill(names: list[str], owner: Callable[[int], str], numbered: bool) -> None:
    """Give the empty names their owner's, numbered always or from the second part of an owner on.

    Args:
        names: Names by index, changed in place; a body's parent comes before it.
        owner: Returns the name that part ``i`` is called after.
        numbered: Whether also the first unnamed part of an owner gets an index.
    """
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if name:
            continue
        base = owner(index)
        count = seen.get(base, 0)
        seen[base] = count + 1
        candidate = f"{base}_{count}" if numbered or count else base
        while candidate in names:
            candidate += "_"
        names[index] = candidate
