"""The text form of tasks: parsing, printing as its exact inverse, and errors that point at the place."""

import math

import numpy as np
import pytest

from warmstart.core.errors import WarmstartError
from warmstart.envs.tasks.contexts import Change, format_context, parse_context
from warmstart.envs.tasks.task import Task, Value


def test_parts() -> None:
    task = Task.parse(
        "Ant-v5:without=[hip_4,ankle_4],time_limit=200@gravity=x0.5,torso.mass+=1.5,wind=[1,-2,0]"
    )
    assert task == Task(
        "Ant-v5",
        (("time_limit", 200), ("without", ("hip_4", "ankle_4"))),
        (
            Change("gravity", "scale", 0.5),
            Change("torso.mass", "add", 1.5),
            Change("wind", "set", (1.0, -2.0, 0.0)),
        ),
    )
    assert hash(task) == hash(Task.parse(str(task)))
    assert task.option("time_limit") == 200
    assert task.option("missing", 3) == 3


@pytest.mark.parametrize(
    "text",
    [
        "HalfCheetah-v5",
        "HalfCheetah-v5@gravity=x0.5,torso.mass=x1.5",
        "Hopper-v5:obs=pixels,size=84@friction=x0.5",
        "ALE/Pong-v5",
        "ale_py:ALE/Pong-v5:mode=1",
        "my.module:space/Name-v1@length=x2",
        "module:Name-v0",
        "CartPole-v1@length=x2",
        "Env@geom.*.friction=x2,geom.left-?.size=x[1,2]",
        "Ant-v5:a=none,b=true,c=false,d=-1,e=0.001,f=inf,g=-inf,h=word,i=/path/to/model.xml,j=[],k=[1,[2.5,x]]",
        'Ant-v5:xml_file="a b,c@d:e=f.xml"',
        'Ant-v5:a="",b="true",c="1",d="1.0",e="inf",f="none",g="\\"",h="\\\\",i="x=y"',
        'Ant-v5@"left leg, upper.mass"=2,"a=b.mass"-=1',
        "Ant-v5:healthy_z_range=[0.2,inf]@gravity=-9.81,gravity-=1,wind+=[-1,2,1e-07]",
        "Ant-v5@mass=x2,mass=x3,mass=x2",
    ],
)
def test_canonical_texts_print_as_they_were_read(text: str) -> None:
    assert str(Task.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        (" Hopper-v5 ", "Hopper-v5"),
        (
            "Hopper-v5 : b = 1 , a = [ 1 , 2 ] @ gravity = x 2 , mass += 1",
            "Hopper-v5:a=[1,2],b=1@gravity=x2,mass+=1",
        ),
        ("Hopper-v5@gravity=-9.8100", "Hopper-v5@gravity=-9.81"),
        ("Hopper-v5@gravity=1e1,mass=x2.0", "Hopper-v5@gravity=10,mass=x2"),
        ("Hopper-v5@mass+=-1", "Hopper-v5@mass-=1"),
        ("Hopper-v5@mass-=-1", "Hopper-v5@mass+=1"),
        ("Hopper-v5@wind-=[1,2,3]", "Hopper-v5@wind+=[-1,-2,-3]"),
        ("Hopper-v5@mass=.5", "Hopper-v5@mass=0.5"),
        ("Hopper-v5:healthy_reward=3.0", "Hopper-v5:healthy_reward=3"),
        ("hopper-heavy-torso", "Hopper-v5@torso.mass=x3"),
    ],
)
def test_other_texts_print_canonically(text: str, canonical: str) -> None:
    assert str(Task.parse(text)) == canonical


def _random_number(rng: np.random.Generator) -> float:
    kinds = (
        lambda: float(rng.integers(-20, 20)),
        lambda: float(rng.normal()),
        lambda: float(10.0 ** rng.uniform(-300, 300)),
        lambda: math.inf,
        lambda: float(round(rng.normal(), 2)),
    )
    return kinds[rng.integers(len(kinds))]()


def _random_text(rng: np.random.Generator) -> str:
    letters = 'abcxyz019_-./ ,=:@[]"\\+*?é\n'
    return "".join(rng.choice(list(letters), size=rng.integers(0, 9)))


def _random_value(rng: np.random.Generator, depth: int = 0) -> Value:
    kind = rng.integers(7 if depth < 2 else 6)
    if kind == 6:
        return tuple(_random_value(rng, depth + 1) for _ in range(rng.integers(0, 4)))
    texts = ["true", "none", "12", "1e5", "inf", "-inf", "x2", "pixels", "a b"]
    return [
        None,
        bool(rng.integers(2)),
        int(rng.integers(-(10**9), 10**9)),
        _random_number(rng),
        _random_text(rng),
        str(rng.choice(texts)),
    ][kind]


def _random_change(rng: np.random.Generator) -> Change:
    names = ["gravity", "torso.mass", "geom.*.friction", "body.a-b_0.mass", "left leg.mass", "x", "x2", "a+"]
    name = str(rng.choice(names)) if rng.random() < 0.7 else _random_text(rng) or "a"
    vector = tuple(_random_number(rng) for _ in range(rng.integers(1, 4)))
    operation = ("set", "scale", "add")[rng.integers(3)]
    return Change(name, operation, vector if rng.random() < 0.4 else _random_number(rng))


def _random_task(rng: np.random.Generator) -> Task:
    ids = ["HalfCheetah-v5", "ALE/Pong-v5", "ale_py:ALE/Pong-v5", "Env", "a.b:c/D.e-v10", "warmstart/Ant-v5"]
    options = {f"option_{k}": _random_value(rng) for k in range(rng.integers(0, 4))}
    context = tuple(_random_change(rng) for _ in range(rng.integers(0, 5)))
    return Task(str(rng.choice(ids)), tuple(options.items()), context)


def test_printing_and_parsing_are_exact_inverses() -> None:
    rng = np.random.default_rng(0)
    for _ in range(3000):
        task = _random_task(rng)
        text = str(task)
        again = Task.parse(text)
        assert again == task, text
        assert str(again) == text
        assert repr(again) == repr(task), text  # types too: 1 is not True
        assert parse_context(format_context(task.context)) == task.context


@pytest.mark.parametrize(
    ("text", "expected", "caret"),
    [
        ("Hopper-v5:obs", "expected '=' after the option 'obs', found the end", 13),
        ("Hopper-v5:a=1,", "expected an option's name", 14),
        ("Hopper-v5:a=", "expected a number, true, false, none, a word", 12),
        ("Hopper-v5:a=1,a=2", "expected each option once ('a' was given before)", 14),
        ("Hopper-v5:a=1:b=2", "expected ',', '@' or the end, found ':b=2'", 13),
        ("Hopper-v5:a=[1,2", "expected ',' or ']', found the end", 16),
        ('Hopper-v5:a="x', 'expected a closing quote (")', 14),
        ("Hopper-v5@", "expected the name of a physical parameter, found the end", 10),
        ("Hopper-v5@gravity", "expected '=', '+=' or '-=', found the end", 17),
        ("Hopper-v5@gravity=y0.5", "expected a number, x and a number", 18),
        ("Hopper-v5@gravity=x", "expected a number or a vector after x, found the end", 19),
        ("Hopper-v5@gravity=0.5x", "expected ',' or the end, found 'x'", 21),
        ("Hopper-v5@a=[1,2", "expected ',' or ']', found the end", 16),
        ("Hopper-v5@a=[]", "expected at least one number", 13),
        ("Hopper-v5@a=1 b=2", "expected ',' or the end, found 'b=2'", 14),
        ("Hopper-v5@a=1@b=2", "expected ',' or the end, found '@b=2'", 13),
        ("Hopper v5", "expected ':', '@' or the end, found 'v5'", 7),
        ("@gravity=1", "expected a Gymnasium id such as HalfCheetah-v5, found '@gravity=1'", 0),
        ("", "expected a Gymnasium id such as HalfCheetah-v5, found the end", 0),
    ],
)
def test_errors_quote_the_text_and_point_at_the_place(text: str, expected: str, caret: int) -> None:
    with pytest.raises(WarmstartError) as error:
        Task.parse(text)
    message, quoted, pointer = str(error.value).split("\n")
    assert expected in message
    assert quoted == f"  {text}"
    assert pointer.index("^") - 2 == caret


def test_a_task_can_be_built_and_changed_in_python() -> None:
    task = Task("Ant-v5", (("without", ["hip_4"]), ("healthy_z_range", np.array([0.2, np.inf]))))  # type: ignore[arg-type]
    assert task.options == (("healthy_z_range", (0.2, math.inf)), ("without", ("hip_4",)))
    shifted = task.with_context("gravity=x0.5", Change("mass", "scale", 2))
    assert str(shifted) == "Ant-v5:healthy_z_range=[0.2,inf],without=[hip_4]@gravity=x0.5,mass=x2"
    assert shifted.with_context("mass=x3").context[-2:] == (
        Change("mass", "scale", 2),
        Change("mass", "scale", 3),
    )
    assert shifted.nominal() == task
    assert task.with_options(time_limit=5, without=()).options[1:] == (("time_limit", 5), ("without", ()))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Task("Hop per"), "Expected a Gymnasium id"),
        (lambda: Task("Hopper-v5", (("a", 1), ("a", 2))), "'a' of Hopper-v5 is given twice"),
        (lambda: Task("Hopper-v5", (("a b", 1),)), "Expected an option's name"),
        (lambda: Task("Hopper-v5", (("a", {}),)), "a value of type dict"),  # type: ignore[arg-type]
        (lambda: Task("Hopper-v5", (("a", math.nan),)), "is not a number"),
        (lambda: Change("", "set", 1.0), "needs the name of a parameter"),
        (lambda: Change("mass", "times", 1.0), "found 'times'"),  # type: ignore[arg-type]
        (lambda: Change("mass", "set", "12"), "a vector of numbers"),  # type: ignore[arg-type]
        (lambda: Change("mass", "set", ()), "Expected numbers"),
        (lambda: Change("mass", "set", math.nan), "Expected numbers"),
    ],
)
def test_what_no_task_can_be_is_refused(build, message: str) -> None:
    with pytest.raises(WarmstartError, match=message):
        build()


def test_an_empty_context_is_nominal() -> None:
    assert parse_context("") == parse_context("  ") == ()
    assert format_context(()) == ""
