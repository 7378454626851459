"""The table of physical and visual quantities: one row says all there is to know of one.

To add a parameter is to add a row. `catalogue` goes through a model's parts; `Selection`, `check_sound`,
`Effects` and `Binding` ask the rows.
"""

from typing import Any

from warmstart.envs.physics import rules
from warmstart.envs.physics.effects import Effects
from warmstart.envs.physics.quantity import Quantity
from warmstart.envs.physics.visuals import TEXTURES

_XYZ = "[x,y,z]"
_LIGHT = rules.nominal_bounds(0.0, 5.0)
_SHADE = rules.nominal_bounds(0.0, 1.0)
_ANY_PLACE = rules.nominal_bounds(-100.0, 100.0)


def _joint(name: str, unit: tuple[str, str], plausible: float, **settings: Any) -> Quantity:
    """A quantity of every degree of freedom of a joint; units of hinges and of slides."""
    return Quantity(
        "joint",
        name,
        f"dof_{name}",
        rules.joint_unit(*unit),
        rules.up_to_bounds(plausible, 100),
        size=rules.dofs,
        start=rules.dof_start,
        short=(name,),
        **settings,
    )


def _reference(name: str, field_name: str, **settings: Any) -> Quantity:
    return Quantity(
        "joint",
        name,
        field_name,
        rules.joint_unit("rad", "m"),
        rules.reference_bounds,
        start=rules.position_start,
        refused=rules.no_reference,
        **settings,
    )


def _vector(
    kind: str,
    name: str,
    field_name: str,
    unit: str,
    bounds: rules.Limits,
    meaning: str = _XYZ,
    **settings: Any,
) -> Quantity:
    """Three numbers, of which one alone sets nothing."""
    return Quantity(kind, name, field_name, unit, bounds, 3, scalar=(), meaning=meaning, **settings)


def _color(kind: str, name: str, field_name: str, bounds: rules.Limits = _SHADE, **settings: Any) -> Quantity:
    return Quantity(kind, name, f"visual.{field_name}", "", bounds, 3, meaning="[red,green,blue]", **settings)


QUANTITIES = (
    Quantity(
        "option",
        "gravity",
        "opt.gravity",
        "m/s2",
        lambda part, nominal: (-100.0, (100.0, 100.0, max(0.0, nominal[2]))),  # noqa: ARG005
        3,
        scalar=(2,),
        meaning=_XYZ,
        short=("gravity",),
        unsound=rules.unsound_gravity,
        no_effect=Effects.gravity,
    ),
    _vector(
        "option",
        "wind",
        "opt.wind",
        "m/s",
        rules.fixed_bounds(-100.0, 100.0),
        short=("wind",),
        no_effect=Effects.wind,
    ),
    Quantity("option", "density", "opt.density", "kg/m3", rules.fixed_bounds(0.0, 2e4), short=("density",)),
    Quantity(
        "option", "viscosity", "opt.viscosity", "Pa s", rules.fixed_bounds(0.0, 100.0), short=("viscosity",)
    ),
    Quantity(
        "option",
        "timestep",
        "opt.timestep",
        "s",
        rules.fixed_bounds(1e-5, 0.1),
        short=("timestep",),
        varies=False,
    ),
    Quantity(
        "body",
        "mass",
        "body_mass",
        "kg",
        rules.times_bounds(1000),
        short=("mass",),
        writes=rules.inertia_follows,
        refused=rules.no_mass,
        unsound=rules.unsound_mass,
        no_effect=Effects.mass,
    ),
    _vector(
        "body",
        "com",
        "body_ipos",
        "m",
        rules.com_bounds,
        "[x,y,z] in the body's frame",
        refused=rules.no_com,
        no_effect=Effects.com,
    ),
    Quantity(
        "geom",
        "friction",
        "geom_friction",
        "",
        rules.up_to_bounds(20, 20),
        3,
        scalar=(0,),
        meaning="[sliding,torsional,rolling]",
        short=("friction",),
    ),
    Quantity(
        "geom",
        "solref",
        "geom_solref",
        "s",
        # MuJoCo itself keeps to at least two timesteps
        lambda part, nominal: (1e-3, max(1.0, 100 * nominal[0])),  # noqa: ARG005
        meaning="time constant of contacts; larger is softer",
        short=("solref",),
        refused=rules.no_solref,
        no_effect=Effects.solref,
    ),
    Quantity(
        "geom",
        "size",
        "geom_size",
        "m",
        rules.times_bounds(100),
        rules.sizes,
        scalar=lambda part: (0,) if rules.sizes(part) == 1 else (),
        meaning="radius and half-lengths as in MuJoCo's geom size",
        refused=rules.no_size,
        no_effect=Effects.size,
    ),
    Quantity(
        "pair",
        "friction",
        "pair_friction",
        "",
        rules.up_to_bounds(20, 20),
        5,
        scalar=(0, 1),
        meaning="[sliding,sliding,torsional,rolling,rolling]",
        short=("friction",),
    ),
    _joint("damping", ("N m s/rad", "N s/m"), 1e3),
    _joint("armature", ("kg m2", "kg"), 1e2, no_effect=Effects.armature),
    _joint("frictionloss", ("N m", "N"), 1e3),
    Quantity(
        "joint",
        "stiffness",
        "jnt_stiffness",
        rules.joint_unit("N m/rad", "N/m"),
        rules.up_to_bounds(1e4, 100),
        short=("stiffness",),
    ),
    Quantity(
        "joint",
        "range",
        "jnt_range",
        rules.joint_unit("rad", "m"),
        rules.range_bounds,
        2,
        scalar=(),
        meaning="[low,high]",
        short=("range",),
        unsound=rules.unsound_limits,
        ordered=True,
        pivot=rules.rest,
        refused=rules.no_range,
    ),
    _reference("ref", "qpos0"),
    _reference("springref", "qpos_spring", no_effect=Effects.springref),
    Quantity(
        "actuator",
        "gear",
        "actuator_gear",
        rules.effort_unit,
        rules.gear_bounds,
        rules.gears,
        start=lambda part: 6 * int(part.model.actuator_outadr[part.index]),
        scalar=lambda part: (0,) if rules.gears(part) == 1 else (),
        meaning="[force x,y,z, torque x,y,z]",
        short=("gear", "motor"),
        refused=rules.no_gear,
    ),
    Quantity(
        "actuator",
        "gain",
        "actuator_gainprm",
        "",
        rules.gain_bounds,
        short=("gain",),
        writes=rules.bias_follows,
        refused=rules.no_gain,
    ),
    Quantity(
        "actuator",
        "forcerange",
        "actuator_forcerange",
        "N",
        rules.fixed_bounds(-1e6, 1e6),
        2,
        scalar=(),
        meaning="[low,high]",
        short=("forcerange",),
        unsound=rules.unsound_limits,
        ordered=True,
        writes=rules.limited_follows,
        rule="bounded",
        nominal=rules.force_limits,
        no_effect=Effects.forcerange,
    ),
    _vector("fixed camera", "offset", "visual.camera_offset", "m", _ANY_PLACE),
    _vector(
        "fixed camera",
        "rotation",
        "visual.camera_rotation",
        "deg",
        rules.nominal_bounds(-180.0, 180.0),
        "[roll,pitch,yaw]",
    ),
    Quantity("free camera", "distance", "visual.distance", "m", rules.times_bounds(100)),
    Quantity("free camera", "azimuth", "visual.azimuth", "deg", rules.nominal_bounds(-360.0, 360.0)),
    Quantity("free camera", "elevation", "visual.elevation", "deg", rules.nominal_bounds(-90.0, 90.0)),
    _vector("free camera", "lookat", "visual.lookat", "m", _ANY_PLACE),
    Quantity("camera", "fovy", "visual.fovy", "deg", rules.nominal_bounds(1.0, 170.0)),
    _color("light", "diffuse", "light_diffuse", _LIGHT, short=("light",)),
    _color("light", "ambient", "light_ambient", _LIGHT, short=("light",)),
    _vector(
        "light",
        "direction",
        "visual.light_dir",
        "",
        rules.nominal_bounds(-10.0, 10.0),
        short=("light.direction",),
        unsound=rules.unsound_direction,
    ),
    _color("headlight", "diffuse", "headlight_diffuse", _LIGHT, short=("light",)),
    _color("headlight", "ambient", "headlight_ambient", _LIGHT, short=("light",)),
    _color(
        "material",
        "color",
        "mat_rgba",
        short=("color",),
        exists=lambda part: part.index in part.model.geom_matid[rules.by_material(part)],
    ),
    Quantity(
        "material",
        "texture",
        "visual.texture",
        "",
        rules.fixed_bounds(0.0, len(TEXTURES) - 1),
        meaning=rules.TEXTURE_NUMBERS,
        short=("texture",),
        exists=lambda part: part.index in part.model.geom_matid[rules.shown(part)],
        refused=rules.no_texture,
        unsound=rules.unsound_texture,
    ),
    _color(
        "colored geom",
        "color",
        "geom_rgba",
        short=("color",),
        exists=lambda part: bool((rules.shown(part) & ~rules.by_material(part))[part.index]),
    ),
    _color("frame", "background", "background"),
)
"""Every quantity, the physical ones first, in the order of their names in `Parameters`."""
_PREFIXES = {"headlight": "light", "colored geom": "geom", "fixed camera": "camera", "free camera": "camera"}
"""First word of the parameters' names, where it isn't the kind of part."""


def first_word(row: Quantity) -> str:
    """First word of the names of a quantity's parameters: ``body``, ``light``."""
    return _PREFIXES.get(row.kind, row.kind)
