"""Frozen dataclasses <-> plain dictionaries: an unknown key or a value of the wrong type is an error."""

import dataclasses
import difflib
import inspect
import math
from collections.abc import Collection, Mapping
from typing import Any, get_args, get_origin, get_type_hints

import typeguard

from sresnet.errors import UserError


def closest(value: str, choices: list[str]) -> str:
    """The cure in a message about an unknown name: the nearest choice, or all of them when none is near."""
    near = difflib.get_close_matches(value, choices, n=1)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(sorted(choices))}"


def check_function(function: Any, name: str, *arguments: str) -> None:
    """Raise UserError for what cannot be called with these arguments, which are named for the message.

    Args:
        function: a function, a class, or a module, whose `forward` is looked at.
        name: what it is.
        arguments: one after the other.
    """
    wanted = f"expected a function of ({', '.join(arguments)})"
    if not callable(function):
        raise UserError(f"{name} is of type {type(function).__name__}: {wanted}")
    called = function if isinstance(function, type) else getattr(function, "forward", function)
    try:
        signature = inspect.signature(called)
    except ValueError:  # one that is written in C and tells nothing
        return
    try:
        signature.bind(*arguments)
    except TypeError:
        raise UserError(f"{name} takes {signature!s:.100}: {wanted}") from None


def check_own_name(what: str, name: Any, taken: Collection[str]) -> None:
    """Raise UserError for a name that cannot be that of something of the user's own: no text, or one of the package."""
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"{what} {name!r} is not a name: give a text such as 'mine'")
    if name in taken:
        raise UserError(f"{what} {name!r} comes with the package: choose another name")


def check_known(what: str, name: Any, choices: list[str]) -> None:
    """Raise UserError for a name that is not among those of the package and those that were registered."""
    if name not in choices:
        cure = closest(str(name), choices)
        own = "" if cure.endswith("?") else f", or call sresnet.nn.register_{what} before, for one of your own"
        raise UserError(f"{what} {name!r} is unknown: {cure}{own}")


def check_types(config: Any) -> None:
    """Raise UserError for the first field of a dataclass with a value of another type, or with NaN or a huge number."""
    hints = get_type_hints(type(config))
    for field in dataclasses.fields(config):
        name, value = f"{type(config).__name__.lstrip('_')}.{field.name}", getattr(config, field.name)
        check_value(name, value, hints[field.name])
        check_number(name, value)


LARGEST = 1e30
"""Larger numbers do not survive a product in float32."""


def check_value(name: str, value: Any, annotation: Any) -> None:
    """Raise UserError if `value` is not of the annotated type; True and False do not pass as numbers."""
    try:
        if isinstance(value, bool) and annotation in (int, float):
            raise typeguard.TypeCheckError("is a bool")
        typeguard.check_type(value, annotation, collection_check_strategy=typeguard.CollectionCheckStrategy.ALL_ITEMS)
    except typeguard.TypeCheckError:
        raise UserError(f"{name} is {value!r}: expected {_describe_type(annotation)}") from None


def check_number(name: str, value: Any, *, endless: bool = False) -> None:
    """Raise UserError for NaN, integers beyond 32 bits and numbers beyond float32, also in a tuple.

    `endless` allows infinity, where it means that there is no limit.
    """
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, float) and not abs(number) <= LARGEST and not (endless and math.isinf(number)):
            raise UserError(f"{name} is {number}: expected a number of at most {LARGEST:g}")
        if isinstance(number, int) and not -(2**31) <= number < 2**31:
            raise UserError(f"{name} is {number}: it is out of range, give one between -2**31 and 2**31")


def check_fields(values: Any, where: str, needed: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """A record from the file `where`, checked; UserError for no object, missing fields and values of another type.

    `needed` and `known` are name -> type of required and optional fields; others pass unchecked.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where} holds no object with named fields: it is damaged, or not a file of a run")
    for name, annotation in {**needed, **known}.items():
        if name in values:
            check_value(f"{where}: {name}", values[name], annotation)
        elif name in needed:
            raise UserError(f"{where} lacks {name!r}: it is damaged, or not a file of a run")
    return values


def _describe_type(annotation: Any) -> str:
    """A type in words: `one of 'a', 'b'` for a Literal, otherwise its name."""
    text = getattr(annotation, "__name__", "") if isinstance(annotation, type) else str(annotation)
    if text.startswith("typing.Literal["):
        return "one of " + text.removeprefix("typing.Literal[").removesuffix("]")
    return text


def added_later(default: Any, *, once: str = "", holds: Mapping[str, str] | None = None) -> Any:
    """The default of a field that older runs do not have: `to_dict` leaves it out at this value.

    So an older run and the same run today have the same configuration and fingerprint. `once` is the former name of
    the field; files with it still load, and fingerprints use it. A field that is a dataclass `holds` fields that once
    stood beside it, former name -> name in it, with the same effect.
    """
    return dataclasses.field(default=default, metadata={"added later": True, "once": once, "holds": holds or {}})


def _first_name(field: dataclasses.Field[Any]) -> str:
    """The first name of a field."""
    return field.metadata.get("once") or field.name


def _held(field: dataclasses.Field[Any]) -> dict[str, str]:
    """Former name -> name now of the fields in a field that once stood beside it."""
    return dict(field.metadata.get("holds", {}))


def renamed_fields(config: Any, where: str = "") -> dict[str, str]:
    """Former name -> name now, with dots, of renamed fields of a dataclass and of those in it."""
    found = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if _first_name(field) != field.name:
            found[f"{where}{_first_name(field)}"] = f"{where}{field.name}"
        for once, now in _held(field).items():
            found[f"{where}{once}"] = f"{where}{field.name}.{now}"
        if dataclasses.is_dataclass(value):
            found |= renamed_fields(value, f"{where}{field.name}.")
    return found


def to_dict(config: Any, *, first_names: bool = False) -> dict[str, Any]:
    """A dataclass as nested plain dictionaries, ready for JSON; tuples become lists there.

    A field made by `added_later` is left out at its default. A class attribute `family`, which identifies a member of a
    union of dataclasses, is written too, unless its attribute `implicit` is true. Fingerprints, which must not change,
    are of the `first_names` of fields.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        held = _held(field) if first_names else {}
        values |= {once: _plain(getattr(value, now), first_names) for once, now in held.items()}
        if "added later" in field.metadata and value == field.default:
            continue
        plain = _plain(value, first_names)
        if held:
            plain = {name: each for name, each in plain.items() if name not in held.values()}
        if plain or not held:
            values[_first_name(field) if first_names else field.name] = plain
    named = hasattr(type(config), "family") and not getattr(type(config), "implicit", False)
    family = {"family": type(config).family} if named else {}
    return family | values


def _plain(value: Any, first_names: bool) -> Any:
    """A field's value as `to_dict` has it: dataclasses, also those in a tuple, as dictionaries."""
    if isinstance(value, tuple):
        return tuple(_plain(each, first_names) for each in value)
    return to_dict(value, first_names=first_names) if dataclasses.is_dataclass(value) else value


def from_dict(cls: Any, values: Any, where: str = "") -> Any:
    """Build a dataclass, or the member of a union of them that `family` names, from `to_dict`'s output.

    Missing fields take their defaults; a field may have its former name.

    Raises:
        UserError: an unknown key or family, a value of the wrong type, a missing field without a default, or what the
            dataclass refuses.
    """
    where = where or getattr(cls, "__name__", "configuration")
    if not isinstance(values, dict):
        raise UserError(f"{where} is {values!r}: expected an object with named fields")
    values = dict(values)
    if hasattr(cls, "family") or get_args(cls):
        cls = _member_of(cls, values.pop("family", None), where)
    hints = get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    renamed = {_first_name(field): name for name, field in fields.items()}
    for name, field in fields.items():
        for once, now in _held(field).items():
            if once in values and isinstance(values.setdefault(name, {}), dict):
                if now in values[name]:
                    raise UserError(f"{where} has '{name}.{now}' and its former name {once!r}: leave one of them out")
                values[name] = values[name] | {now: values.pop(once)}
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        key = key if key in fields else renamed.get(key, key)
        if key in arguments:
            raise UserError(f"{where} has {key!r} and its former name: leave one of them out")
        if key not in fields:
            raise UserError(f"{where} has no field {key!r}: {closest(str(key), list(fields))}")
        annotation = hints[key]
        members = get_args(annotation)
        if get_origin(annotation) is tuple and isinstance(value, list | tuple):
            if dataclasses.is_dataclass(members[0]):
                value = tuple(from_dict(members[0], each, f"{where}.{key}[{i}]") for i, each in enumerate(value))
            else:
                value = _tuples(value)
        elif get_origin(annotation) is not tuple and any(map(dataclasses.is_dataclass, (annotation, *members))):
            value = from_dict(annotation, value, f"{where}.{key}")
        elif isinstance(value, list):
            value = tuple(value)
        check_value(f"{where}.{key}", value, annotation)
        arguments[key] = value
    for name, field in fields.items():
        absent = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if absent and name not in arguments:
            raise UserError(f"{where} lacks the field {name!r}: add it, it has no default")
    try:
        return cls(**arguments)
    except UserError as error:
        own, said = f"{cls.__name__.lstrip('_')}.", str(error)
        if not said.startswith(own):
            raise
        raise UserError(f"{where}.{said.removeprefix(own)}") from None  # of `check_types`, which knows no place


def _tuples(value: Any) -> Any:
    """Lists, also those in lists, as tuples: JSON knows no others."""
    return tuple(_tuples(each) for each in value) if isinstance(value, list | tuple) else value


def _member_of(union: Any, family: Any, where: str) -> Any:
    """The dataclass among `union` (or `union` itself) with this `family`; without one, the implicit member.

    A dataclass with an empty `family` stands for its `members()`.
    """
    open_ended = not get_args(union) and not union.family
    members = {member.family: member for member in (union.members() if open_ended else get_args(union) or (union,))}
    if family is None:
        family = next((name for name, member in members.items() if getattr(member, "implicit", False)), None)
    if not isinstance(family, str) or family not in members:
        raise UserError(f"{where}.family is {family!r}: choose from {', '.join(members)}")
    return members[family]
