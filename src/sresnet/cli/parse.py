"""Words of the command line -> options; the only file that knows tyro."""

import contextlib
import dataclasses
import io
import itertools
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import tyro

from sresnet.config import check_number, renamed_fields
from sresnet.errors import UserError
from sresnet.limits import MEMORY_LIMIT
from sresnet.printing import cut, encodable, printable

C = TypeVar("C")

Page = Annotated[str, tyro.conf.arg(aliases=["-o"])]
"""--out of a verb that writes one page: -o for short."""

LabelColumn = Annotated[str, tyro.conf.arg(aliases=["--data.label-column"])]
"""--label-column; also as trainings have it, which is what messages about a list of pictures name."""

Repeated = tyro.conf.UseAppendAction[tuple[C, ...]]
"""Of a flag that may be given several times, a value each."""


NAMES = tyro.constructors.ConstructorRegistry()


@NAMES.primitive_rule
def _open_choice(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[str] | None:
    """Flags for one of several names or a registered one, such as a neuron's: the help lists the names alone."""
    literals = [each for each in get_args(info.type) if get_origin(each) is Literal]
    if info.type_origin not in (Union, UnionType) or set(get_args(info.type)) != {*literals, str}:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="{" + ",".join(name for each in literals for name in get_args(each)) + "}",
        instance_from_str=lambda words: words[0],
        is_instance=lambda value: isinstance(value, str),
        str_from_instance=lambda value: [value],
    )


@NAMES.primitive_rule
def _numbers(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec[Any] | None:
    """Flags for a number, for several, and for several or a name: a message says what is wrong with the word."""
    members = get_args(info.type) if info.type_origin in (Union, UnionType) else (info.type,)
    names = [name for each in members if get_origin(each) is Literal for name in get_args(each)]
    kinds = [each for each in members if get_origin(each) is not Literal]
    several = get_origin(kinds[0]) is tuple and get_args(kinds[0])[1:] == (Ellipsis,) if len(kinds) == 1 else False
    number = get_args(kinds[0])[0] if several else info.type
    if number not in (int, float) or (names and not several):
        return None
    what = "whole number" if number is int else "number"

    def read(words: list[str]) -> Any:
        if words in ([name] for name in names):
            return words[0]
        found = []
        for word in words:
            try:
                found.append(number(word))
            except ValueError:
                fault = f"{' '.join(words)!r} is neither {what}s nor {' or '.join(names)}"
                raise ValueError(fault if names else f"{word!r} is not a {what}") from None
        if names and not words:
            raise ValueError(f"has no value, neither {what}s nor {' or '.join(names)}")
        return tuple(found) if several else found[0]

    metavar = number.__name__.upper()
    listed = f"[{metavar} [{metavar} ...]]"
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*" if several else 1,
        metavar=f"{{{listed}}}|{{{','.join(names)}}}" if names else listed if several else metavar,
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, tuple if several else number) or value in names,
        str_from_instance=lambda value: list(map(str, value)) if isinstance(value, tuple) else [str(value)],
    )


_parsing = threading.Lock()


def parse(options: C, words: Sequence[str], prog: str, description: str) -> C:
    """Read flags into a copy of the dataclass `options`; a mistake becomes a one-line UserError."""
    prog, description = _shown(cut(prog, 200)), _shown(cut(description, 200))
    if "-h" in words or "--help" in words:
        options = _shown(options)
    words = _with_current_names(options, words)
    with _parsing, NAMES, contextlib.redirect_stderr(_Complaint()) as complaint:
        try:
            found = tyro.cli(
                type(options),
                default=options,
                args=list(words),
                prog=prog,
                description=description,
                config=(tyro.conf.AvoidSubcommands,),
            )
        except SystemExit as stop:
            if not stop.code:
                raise
            cause = stop.__context__
            while cause is not None:
                if isinstance(cause, UserError):  # of a dataclass that checked its fields: it says all there is to say
                    raise _with_option(cause, options) from None
                cause = cause.__context__
            _check_repeated(options, words)
            _check_switches(options, words)
            raise UserError(_complaint_of(complaint.getvalue(), prog)) from None
    for field in dataclasses.fields(found):  # type: ignore[arg-type]
        check_number(field.name, getattr(found, field.name), endless=True)
    return found


def _with_option(error: UserError, options: Any) -> UserError:
    """The error, naming the option where it begins with the dataclass and field, as those of `check_types` do."""
    name, _, rest = str(error).partition(" ")
    option = next((option for option, field in _fields_of(options) if field == name), "")
    return UserError(f"{option} {rest}") if option else error


def _fields_of(options: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """(name of the option, dataclass and field as `check_types` has them) of a dataclass and of those in it."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        yield f"{where}{field.name}", f"{type(options).__name__.lstrip('_')}.{field.name}"
        if dataclasses.is_dataclass(value):
            yield from _fields_of(value, f"{where}{field.name}.")


_SAME = (("num-steps", "model.num-steps"), ("chip", "data.chip"), ("event-stream", "data.event-stream"))
"""Flags of one meaning, which verbs have under the one or the other name: both are understood."""


def _has(options: Any, flag: str) -> bool:
    """Whether a dataclass has the field that a flag without its dashes names."""
    for name in flag.replace("-", "_").split("."):
        if not hasattr(options, name):
            return False
        options = getattr(options, name)
    return True


def _with_current_names(options: Any, words: Sequence[str]) -> list[str]:
    """The words, with flags under the names that these options have: old commands still run."""
    flags = {f"--{once}".replace("_", "-"): now.replace("_", "-") for once, now in renamed_fields(options).items()}
    for short, long in _SAME:
        if _has(options, long) and not _has(options, short):
            flags[f"--{short}"] = long
        elif _has(options, short) and not _has(options, long):
            flags[f"--{long}"] = short
    found = []
    for word in words:
        flag, equals, value = word.partition("=")
        now = flags.get(flag.replace("_", "-"))
        found.append(word if now is None else f"--{now}{equals}{value}")
    return found


class _Complaint(io.StringIO):
    """Collects what this thread writes to the error output, which all threads share; others' lines pass through."""

    def __init__(self) -> None:
        super().__init__()
        self.thread, self.past = threading.get_ident(), sys.stderr

    def write(self, text: str) -> int:
        return super().write(text) if threading.get_ident() == self.thread else self.past.write(text)


def _check_repeated(options: Any, words: Sequence[str]) -> None:
    """Raise UserError for a flag that takes one value at a time and has several."""
    hints = get_type_hints(type(options), include_extras=True)
    flags = {f"--{name.replace('_', '-')}" for name, hint in hints.items() if _is_repeated(hint)}
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag.replace("_", "-") not in flags:
            continue
        behind = itertools.takewhile(lambda each: not each.startswith("-"), words[place + 1 :])
        values = [part for each in ([value] if equals else []) + list(behind) for part in each.split(",") if part]
        if len(values) > 1:
            cure = cut(printable(" ".join(f"{flag} {each}" for each in values)), 200)
            raise UserError(f"{flag} takes one value at a time, and has {len(values)}: give {cure}")


def _check_switches(options: Any, words: Sequence[str]) -> None:
    """Raise UserError for a flag that is on or off and has a word for it behind, such as False."""
    switches: dict[str, tuple[str, str]] = {}
    for name, value in _values_of(options):
        if isinstance(value, bool):
            where, dot, field = name.replace("_", "-").rpartition(".")
            on, off = f"--{where}{dot}{field}", f"--{where}{dot}no-{field}"
            switches |= {on: (on, off), off: (on, off)}
    for place, word in enumerate(words):
        flag, equals, value = word.partition("=")
        on, off = switches.get(flag.replace("_", "-"), ("", ""))
        value = value if equals else "".join(words[place + 1 : place + 2])
        if on and value.lower() in _ON_OFF:
            raise UserError(f"{flag} takes no value, and has {value}: give {on} or {off} alone")


_ON_OFF = ("true", "false", "yes", "no", "on", "off", "0", "1")


def _values_of(options: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """(name of the option, its value) of a dataclass and of those in it."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            yield from _values_of(value, f"{where}{field.name}.")
        else:
            yield f"{where}{field.name}", value


def _is_repeated(hint: Any) -> bool:
    """Whether a field's type is `Repeated`."""
    return tyro.conf.UseAppendAction in getattr(hint, "__metadata__", ())


def _shown(value: Any) -> Any:
    """A value, or a dataclass of values, with every text in it as it can be printed: for a help text."""
    if isinstance(value, str):
        return encodable(printable(value), sys.stdout)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _shown(getattr(value, field.name)) for field in dataclasses.fields(value)})
    return value


def _complaint_of(complaint: str, prog: str) -> str:
    """Tyro's framed error report as one sentence: its first paragraph and the first suggestion."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip("│|+ ╭╮╰╯") for line in complaint.splitlines()]
    text, _, rest = re.sub("[─-]{10,}", "─", "\n".join(lines[1:])).lstrip("─\n").partition("─")
    suggestion = re.search(r"(--[\w.-]+)", rest.partition("Perhaps you meant:")[2])
    cure = f"did you mean {suggestion[1]}?" if suggestion else f"see {prog} --help"
    text = re.sub(r"^Error parsing (--[^ :]+):", r"\1", " ".join(text.split()))
    return f"{text.rstrip('.:')}: {cure}"


def first_word(words: list[str], what: str, choices: str) -> str:
    """The positional argument in front of the flags."""
    if not words or words[0].startswith("-"):
        raise UserError(f"{what} is missing: {choices}")
    return words[0]


def names_and_flags(words: list[str]) -> tuple[list[str], list[str]]:
    """The words in front of the flags, each once, and the flags."""
    at = next((index for index, word in enumerate(words) if word.startswith("-")), len(words))
    return list(dict.fromkeys(words[:at])), words[at:]


def wants_help(words: list[str]) -> bool:
    """Whether the first word asks for help instead of naming something."""
    return bool(words) and words[0] in ("-h", "--help")


def name_and_flags(words: list[str], what: str, choices: str) -> tuple[str, list[str]]:
    """The positional argument and the flags behind it; a placeholder and all words where they ask for help.

    Raises:
        UserError: as `first_word`.
    """
    return (what.upper(), words) if wants_help(words) else (first_word(words, what, choices), words[1:])


def check_minutes(max_minutes: float) -> None:
    """Raise UserError for what is not a length of time; NaN would never end."""
    if not max_minutes >= 0:
        raise UserError(
            f"max_minutes {max_minutes:g} is not a length of time: give minutes, 0 or more, or leave it out"
        )


def at_least(least: int, **numbers: int) -> None:
    """Raise UserError for the first of `numbers` that is less than `least`."""
    for name, number in numbers.items():
        if number < least:
            raise UserError(f"{name} {number} is less than {least}: leave --{name.replace('_', '-')} out, or give more")


def take_option(words: list[str], flag: str) -> tuple[str, list[str]]:
    """The value of a flag, "" where it is not among `words`, and the other words; UserError for a flag without one."""
    for at, word in enumerate(words):
        if word == flag or word.startswith(f"{flag}="):
            _, given, value = word.partition("=")
            behind = at + 1 if given else at + 2
            value = value if given else "".join(words[at + 1 : behind])
            if not value:
                raise UserError(f"{flag} has no value: add one after it")
            return value, words[:at] + words[behind:]
    return "", words


def seconds_of(flag: str, text: str) -> float:
    """A length of time such as 50ms, 0.5s or 200us in seconds; UserError for anything else."""
    found = re.fullmatch(r"([\d.]+(?:e-?\d+)?) ?(s|ms|us|µs|μs)", text, re.ASCII | re.IGNORECASE)
    try:
        number = float(found[1] if found else "")
    except ValueError:
        unit = f": {text} of what? " if re.fullmatch(r"[\d.]+", text) else ": "
        raise UserError(
            f"{flag} {text!r} is not a length of time{unit}give a unit, such as 50ms, 0.05s or 500us"
        ) from None
    assert found
    seconds = number * {"s": 1.0, "ms": 1e-3}.get(found[2].lower(), 1e-6)
    if not 1e-6 <= seconds <= 1e6:
        raise UserError(f"{flag} {text!r} is not a length of time that events have: give 1us to 1000000s")
    return seconds


def take_memory_limit(words: list[str]) -> tuple[float, list[str]]:
    """The gigabytes of --memory-limit or its default, and the other words."""
    text, rest = take_option(words, "--memory-limit")
    try:
        return float(text or MEMORY_LIMIT), rest
    except ValueError:
        raise UserError(f"memory-limit {text!r} is not a number: give gigabytes, such as {MEMORY_LIMIT:g}") from None
