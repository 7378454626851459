"""Names of the classes in the pickles that stable-baselines3 wrote."""

from warmstart.agents.untrusted.pickles import Called, read_pickle


def named_class(content: bytes) -> str:
    """Full name of the class that a pickle is: by reference, or by value as cloudpickle writes one.

    Returns:
        Such as ``stable_baselines3.common.policies.ActorCriticPolicy``; empty where it is something else.
    """
    found = read_pickle(content)
    return class_name(found) if isinstance(found, Called) else ""


def class_name(called: Called) -> str:
    """Full name of a class or function: by value, it is the skeleton's second argument, in its module."""
    if called.name.endswith("._make_function") or called.name.endswith("._function_setstate"):
        return "a function of its own"
    if not called.name.endswith(("._make_skeleton_class", "._class_setstate")):
        return called.name
    while called.name.endswith("._class_setstate") and called.args and isinstance(called.args[0], Called):
        called = called.args[0]
    name = str(called.args[1]) if len(called.args) > 1 else ""
    attributes = called.args[3] if len(called.args) > 3 and isinstance(called.args[3], dict) else {}
    return f"{attributes.get('__module__', '__main__')}.{name}" if name else ""
