import json
import math
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sresnet.config import added_later, check_types, closest, from_dict, to_dict
from sresnet.data import DataConfig, EventConfig
from sresnet.data.events.simulate import DVSConfig
from sresnet.errors import UserError
from sresnet.models import SResNetConfig, VGGConfig
from sresnet.nn.neuron import NeuronConfig
from sresnet.ops.surrogate import SURROGATES, make_surrogate
from sresnet.train.recipe import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Cat:
    family: ClassVar[str] = "cat"
    lives: int = 9

    def __post_init__(self):
        check_types(self)


@dataclass(frozen=True, kw_only=True)
class Dog:
    family: ClassVar[str] = "dog"
    tricks: tuple[float, ...] = (1.0,)


@dataclass(frozen=True, kw_only=True)
class Home:
    name: str
    pet: Cat | Dog = field(default_factory=Cat)
    size: float = 1.5
    colour: Literal["red", "blue"] = "red"
    open: bool = False

    def __post_init__(self):
        check_types(self)


homes = st.builds(
    Home,
    name=st.text(),
    pet=st.builds(Cat, lives=st.integers(-(2**31), 2**31 - 1))
    | st.builds(Dog, tricks=st.lists(st.floats(-1e30, 1e30), max_size=4).map(tuple)),
    size=st.floats(-1e30, 1e30),
    colour=st.sampled_from(["red", "blue"]),
    open=st.booleans(),
)


@given(homes)
def test_round_trip_through_json(home):
    assert from_dict(Home, json.loads(json.dumps(to_dict(home)))) == home


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "pet", "size", "colour", "open", "family", "lives", "tricks", "x"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=500)
@given(JSON)
def test_anything_else_is_a_user_error(value):
    try:
        home = from_dict(Home, value)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right, this one must be one line
    else:
        assert to_dict(home)["name"] == value["name"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "Home lacks the field 'name'"),
        ({"name": 3}, "Home.name is 3: expected str"),
        ({"name": "x", "siz": 1.0}, "no field 'siz': did you mean 'size'"),
        ({"name": "x", "open": 1}, "Home.open is 1: expected bool"),
        ({"name": "x", "size": True}, "Home.size is True: expected float"),
        ({"name": "x", "colour": "green"}, "Home.colour is 'green': expected one of 'red', 'blue'"),
        ({"name": "x", "pet": {"lives": 9}}, "Home.pet.family is None: choose from cat, dog"),
        ({"name": "x", "pet": {"family": "dog", "lives": 9}}, "Home.pet has no field 'lives'"),
        ({"name": "x", "pet": {"family": "dog", "tricks": ["sit"]}}, r"Home.pet.tricks is \('sit',\)"),
        ({"name": "x", "pet": 3}, "Home.pet is 3: expected an object"),
        ({"name": "x", "size": math.nan}, "Home.size is nan: expected a number"),
        ({"name": "x", "size": -math.inf}, "Home.size is -inf: expected a number"),
    ],
)
def test_errors(values, words):
    with pytest.raises(UserError, match=words):
        from_dict(Home, values)


CONFIGURATIONS = {
    made.__name__: made
    for made in (SResNetConfig, VGGConfig, TrainConfig, DataConfig, EventConfig, DVSConfig, NeuronConfig)
} | {shape: partial(make_surrogate, shape, height=1.0, width=1.0, center=1.0) for shape in SURROGATES}


@pytest.mark.parametrize("make", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_field_of_any_configuration_takes_what_is_no_number(make, number):
    plain = make()
    names = [name for name, value in vars(plain).items() if isinstance(value, float)]
    assert names
    for name in names:
        with pytest.raises(UserError, match=f"{name}.* {number}") as refused:
            make(**{name: number})
        assert f"not {number}" not in str(refused.value)


def test_a_number_that_is_none_is_named_by_its_place():
    for number in (math.nan, math.inf):
        with pytest.raises(UserError, match=rf"^EventConfig.windows.seconds is {number}: expected a number"):
            from_dict(EventConfig, {"family": "events", "name": "nmnist", "windows": {"seconds": number}})
        with pytest.raises(UserError, match=rf"^a.toml.learning_rate is {number}: expected a number"):
            from_dict(TrainConfig, {"learning_rate": number}, "a.toml")


def test_closest():
    assert closest("lek", ["leak", "norm"]) == "did you mean 'leak'?"
    assert closest("zzz", ["norm", "leak"]) == "choose from leak, norm"


@dataclass(frozen=True, kw_only=True)
class Grown:
    name: str
    extra: int = added_later(3)
    now: int = added_later(1, once="before")


def test_a_field_may_have_the_name_that_it_had_once():
    assert from_dict(Grown, {"name": "a", "before": 4}) == Grown(name="a", now=4)
    assert from_dict(Grown, {"name": "a", "now": 4}) == Grown(name="a", now=4)
    assert to_dict(Grown(name="a", now=4)) == {"name": "a", "now": 4}
    assert to_dict(Grown(name="a", now=4), first_names=True) == {"name": "a", "before": 4}
    with pytest.raises(UserError, match="has 'now' and its former name"):
        from_dict(Grown, {"name": "a", "now": 4, "before": 4})


def test_a_field_that_was_added_later_is_written_where_it_says_something():
    assert to_dict(Grown(name="a")) == {"name": "a"}
    assert to_dict(Grown(name="a", extra=4)) == {"name": "a", "extra": 4}
    assert from_dict(Grown, {"name": "a"}) == Grown(name="a", extra=3)
    assert from_dict(Grown, {"name": "a", "extra": 4}) == Grown(name="a", extra=4)


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 10**400], ids=["more", "less", "much more"])
def test_a_whole_number_beyond_32_bits(number):
    with pytest.raises(UserError, match="Cat.lives is .*: it is out of range"):
        from_dict(Cat, {"family": "cat", "lives": number})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1e31])
def test_what_is_no_number_to_compute_with(number):
    with pytest.raises(UserError, match="Home.size is "):
        Home(name="a", size=number)
    with pytest.raises(UserError, match="Dog.tricks is "):
        check_types(Dog(tricks=(1.0, number)))


def test_a_dictionary_is_no_tuple_of_dataclasses():
    @dataclass(frozen=True, kw_only=True)
    class Inner:
        x: int

    @dataclass(frozen=True, kw_only=True)
    class Outer:
        inner: tuple[Inner, ...]

    assert from_dict(Outer, {"inner": [{"x": 1}]}) == Outer(inner=(Inner(x=1),))
    for wrong in ({}, {"x": 1}, 3):
        with pytest.raises(UserError, match=r"Outer\.inner is "):
            from_dict(Outer, {"inner": wrong})
