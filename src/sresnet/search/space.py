"""What a search may change: fields of a recipe, each over a range or a list."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from sresnet.config import check_number, check_types, check_value, closest
from sresnet.errors import UserError
from sresnet.files import read_toml
from sresnet.train.recipe import Recipe

Value = int | float | str | bool
"""Of one field of a recipe."""
Values = Mapping[str, Value]
"""Field -> value, such as "model.leak" -> 0.9."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """All numbers from `low` to `high`, both included; whole ones where both are.

    Raises:
        UserError: it is empty, or logarithmic and not above 0.
    """

    low: int | float
    high: int | float
    log: bool = False
    """Each factor is as likely as any other, not each difference."""

    def __post_init__(self) -> None:
        check_types(self)
        if not self.low < self.high:
            raise UserError(f"range {self} is empty: give the lower number first, such as 0.1:0.9")
        if self.log and self.low <= 0:
            raise UserError(f"range {self} is logarithmic and reaches {self.low:g}: begin it above 0")

    @property
    def whole(self) -> bool:
        """Whether it is of whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def __contains__(self, value: Value) -> bool:
        of_kind = isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)
        return of_kind and self.low <= value <= self.high  # type: ignore[operator]

    def __str__(self) -> str:
        return f"{self.low}:{self.high}{':log' if self.log else ''}"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A list of values; UserError for fewer than two, or one twice."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if len(self.values) < 2:
            raise UserError(f"list {self} leaves nothing to choose: give two values, or set the field itself")
        if len({(type(value), value) for value in self.values}) < len(self.values):
            raise UserError(f"list {self} has a value twice: give each once")

    def __contains__(self, value: Value) -> bool:
        return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in self.values)

    def __str__(self) -> str:
        return ",".join(map(str, self.values))


Dimension = Range | Choice
Space = Mapping[str, Dimension]
"""Field -> what it may be."""

PAPER: dict[str, str] = {
    "model.leak": "0.5:0.999",
    "model.num_steps": "10:60",  # of 50; another recipe's are in proportion
    "train.learning_rate": "0.001:0.1:log",
    "train.batch_size": "16:64:log",
}
"""The fields that the paper searched (Section 3.5 names leak, time steps, learning rate and batch size). Its ranges are
not published: these are chosen around what it found."""
PAPERS_VALUES: dict[str, Value] = {
    "model.leak": 0.874,
    "model.num_steps": 50,
    "train.learning_rate": 0.0268,
    "train.batch_size": 21,
}
"""What its search found (Section 3.5)."""
WIDE: dict[str, str] = PAPER | {
    "model.threshold": "0.5:2.0",
    "model.surrogate_width": "0.5:2.0",
    "train.weight_decay": "1e-6:1e-2:log",
    "train.momentum": "0.8:0.98",
}
NAMED: dict[str, dict[str, str]] = {"paper": PAPER, "wide": WIDE}
"""Spaces by name."""


def named_space(name: str, recipe: Recipe) -> dict[str, Dimension]:
    """A space by its name, for a recipe: time steps are to the recipe's own as the paper's are to 50.

    Raises:
        UserError: as `dimension`.
    """
    space, steps = {field: dimension(field, text, recipe) for field, text in NAMED[name].items()}, "model.num_steps"
    least, most = (int(end) * recipe.model.num_steps // 50 for end in NAMED[name][steps].split(":"))
    return space | {steps: Range(low=max(1, least), high=max(2, most))}


def read_space(path: Path, recipe: Recipe) -> dict[str, Dimension]:
    """The space in a TOML file: names of fields, with a range as text or a list.

        leak = "0.5:0.999"
        learning_rate = "1e-3:0.1:log"
        num_steps = [2, 4, 8]

    Raises:
        UserError: there is no such file, it is no TOML, or as `field_named` and `dimension`.
    """
    values = read_toml(path, f'give {" or ".join(NAMED)}, or a file of lines such as leak = "0.5:0.999"')
    found: dict[str, Dimension] = {}
    for name, value in _flat(values):
        field = field_named(name, recipe)
        if field in found:
            raise UserError(f"{path} has {field} twice: leave one of them out")
        found[field] = dimension(field, value, recipe)
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """(name with dots, value) of what is in tables and beside them."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def field_named(name: str, recipe: Recipe) -> str:
    """The whole name of a field, such as model.leak for leak; - and _ are the same.

    Raises:
        UserError: the recipe has none of that name, or several.
    """
    name = name.replace("-", "_")
    known = list(_fields_of(recipe))
    found = [field for field in known if name in (field, name_of(field))]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"field {name!r} is ambiguous: choose from {', '.join(found)}")
    near = known if "." in name else sorted({name_of(field) for field in known})
    raise UserError(f"the recipe has no field {name!r} to search: {closest(name, near)}")


def read_values(text: str, space: Space, recipe: Recipe) -> Values:
    """Values to try first, in `leak=0.9,num_steps=4`, or "paper" for those of the paper's that the space has.

    Raises:
        UserError: it cannot be read, or names a field that the recipe does not have.
    """
    if text == "paper":
        return {field: value for field, value in PAPERS_VALUES.items() if field in space and value in space[field]}
    found: dict[str, Value] = {}
    for part in text.split(","):
        name, equals, word = part.partition("=")
        if not equals:
            raise UserError(f"values {text!r}: give leak=0.9,num_steps=4, paper, or none")
        field = field_named(name.strip(), recipe)
        found[field] = _read(field, word.strip(), _annotation(field, recipe))
    return found


def _fields_of(config: Any, prefix: str = "") -> Iterable[str]:
    """Names of the fields with a single value, with dots."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _fields_of(value, f"{prefix}{field.name}.")
        elif isinstance(value, Value):
            yield prefix + field.name


_FIXED = {
    "train.epochs": "trials are compared after as many epochs",
    "data.validation": "trials are compared on the same held-out images",
}
"""Fields that cannot be searched -> why not."""


def dimension(field: str, given: Any, recipe: Recipe) -> Dimension:
    """What a field may be.

    Args:
        field: its whole name.
        given: "low:high", "low:high:log", "a,b,c", or a list.
        recipe: of which it is a field; each end and each value must be possible in it.

    Raises:
        UserError: it cannot be read, is empty, or a value is none that the field may have.
    """
    if field in _FIXED:
        raise UserError(f"{field} is the same in all trials of a search ({_FIXED[field]}): set it with --{field}")
    annotation = _annotation(field, recipe)
    if isinstance(given, list):
        found: Dimension = Choice(values=tuple(_typed(field, value, annotation) for value in given))
    elif isinstance(given, str) and "," in given:
        found = Choice(values=tuple(_read(field, word.strip(), annotation) for word in given.split(",")))
    elif isinstance(given, str) and ":" in given:
        found = _range(field, given, annotation)
    else:
        raise UserError(f"{field} over {given!r}: give a range, such as 0.1:0.9 or 0.001:0.1:log, or a list a,b,c")
    for value in (found.low, found.high) if isinstance(found, Range) else found.values:
        with_values(recipe, {field: value}, check=False)
    return found


def _range(field: str, text: str, annotation: Any) -> Range:
    """The range in `low:high` or `low:high:log`."""
    low, high, *rest = text.split(":")
    if rest not in ([], ["log"]):
        raise UserError(f"{field} over {text!r}: give low:high or low:high:log")
    if annotation not in (int, float):
        raise UserError(f"{field} is no number, so there is no range of it: give a list such as a,b,c")
    ends = (_read(field, low.strip(), annotation), _read(field, high.strip(), annotation))
    return Range(low=ends[0], high=ends[1], log=bool(rest))  # type: ignore[arg-type]


def _annotation(field: str, recipe: Recipe) -> Any:
    """The type of a field."""
    *path, last = field.split(".")
    config: Any = recipe
    for name in path:
        config = getattr(config, name)
    return get_type_hints(type(config))[last]


def _read(field: str, word: str, annotation: Any) -> Value:
    """A word as a value of the field."""
    if annotation is bool:
        if word in ("True", "False", "true", "false"):
            return word in ("True", "true")
        raise UserError(f"{field} over {word!r}: give true,false")
    if annotation in (int, float):
        try:
            value = annotation(word)
        except ValueError:
            what, such = ("whole number", "4") if annotation is int else ("number", "0.5")
            raise UserError(f"{field} over {word!r}, which is not a {what}: give one, such as {such}") from None
        return _typed(field, value, annotation)
    return _typed(field, word, annotation)


def _typed(field: str, value: Any, annotation: Any) -> Value:
    """A value, checked; whole numbers are numbers."""
    if annotation is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    check_value(field, value, annotation)
    check_number(field, value)
    found: Value = value
    return found


def with_values(recipe: Recipe, values: Values, *, check: bool = True) -> Recipe:
    """A recipe with other values of some fields.

    Args:
        recipe: stays as it is.
        values: whole name of a field -> its value.
        check: whether fields must fit each other; without, each is checked in its own configuration alone.

    Raises:
        UserError: a field that the recipe does not have, or a value that it cannot have.
    """
    changes = _changes(recipe, values)
    return dataclasses.replace(recipe, **changes) if check else recipe


def _changes(config: Any, values: Values) -> dict[str, Any]:
    """Name of a field of a dataclass -> what it becomes, with values of its own fields by names with dots."""
    inner: dict[str, dict[str, Value]] = {}
    changes: dict[str, Any] = {}
    for field, value in values.items():
        first, _, rest = field.partition(".")
        if rest:
            inner.setdefault(first, {})[rest] = value
        else:
            changes[first] = value
    for first, own in inner.items():
        part = getattr(config, first)
        changes[first] = dataclasses.replace(part, **_changes(part, own))
    return changes


def name_of(field: str) -> str:
    """A field without the part of the recipe that it is in."""
    return field.rpartition(".")[2]


def in_short(value: object) -> str:
    """A value for people."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
