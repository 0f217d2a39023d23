"""One recording of a set: where it is, and how it is read, whole or as a part of a file that holds several."""

import hashlib
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sresnet.archives import open_zip, read_member
from sresnet.data.events.columns import ReadConfig
from sresnet.data.events.parts import Parts, between, gone_through, held
from sresnet.data.events.read import chunks_of, parse_recording, read_chunks
from sresnet.data.events.recording import Recording
from sresnet.errors import UserError
from sresnet.files import Content, FileContent

_TIMES = 8
"""Memory for reading a recording of a zip file, as a multiple of its length, at most."""

_SHORT = 16 << 20
"""Bytes of a file that is read at once; longer ones are read in chunks, for each pass anew."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One recording, not read yet."""

    name: str
    """Path below the data folder; a member of a zip file behind that file's name."""
    class_name: str
    group: str = ""
    """What a split by group does not divide, such as a session; "train" or "test" in an official split."""
    path: Path | None = None
    """The file, or the zip file; None where it is simulated."""
    member: str = ""
    """Name within the zip file."""
    image: int = -1
    """Number of the image that it is simulated from."""
    span: tuple[int | None, int | None] | None = None
    """Of a part of a recording, from which microsecond on up to which, excluded; None: no bound, or all of it."""
    from_first: bool = False
    """Whether `span` is counted from the recording's first event, not by its clock."""
    whole: str = ""
    """Name of the recording that it is one of several parts of."""


Read = Callable[[Source], tuple[Parts, str]]
"""The recording, and a digest of its bytes; UserError where it cannot be read."""


def recording_in(path: Path, config: ReadConfig) -> Parts:
    """What a file holds; errors as `read_recording`."""
    found = gone_through(lambda: read_chunks(path, config=config))
    assert found is not None  # a file without events is an error
    return found


def readers(config: ReadConfig) -> tuple[Read, Callable[[Source], str]]:
    """What reads the recordings of files, and what gives the digest of their bytes now, "" where that cannot be had.

    Sources of one file, or of one zip file, are to be read one behind the other: the last one stays open.
    """
    opened: dict[Path, zipfile.ZipFile] = {}
    last: dict[Path, tuple[_Onward, str]] = {}

    def read(source: Source) -> tuple[Parts, str]:
        if source.span is None:
            return _read_whole(source, source.name, opened, config)
        assert source.path is not None
        if source.path not in last:
            last.clear()
            whole, digest = _read_whole(source, str(source.path), opened, config)
            last[source.path] = _Onward(whole), digest
        recording, digest = last[source.path]
        return _part_of(recording, source), _digest_said(digest, source)

    def digest(source: Source) -> str:
        try:
            return _digest_said(_digest_of(_content(source, opened, config.memory_limit)), source)
        except UserError:
            return ""

    return read, digest


def _read_whole(
    source: Source, name: str, opened: dict[Path, zipfile.ZipFile], config: ReadConfig
) -> tuple[Parts, str]:
    """All that a file holds, `name` for messages, and the digest of its bytes."""
    content = _content(source, opened, config.memory_limit)
    status = content.status if isinstance(content, FileContent) else None
    digest = _digest_of(content)
    if isinstance(content, bytes) and len(content) <= _SHORT:
        return held(parse_recording(content, name, config)), digest

    def passes() -> Iterator[Recording]:
        again = content if isinstance(content, bytes) else _content(source, opened, config.memory_limit)
        try:
            if isinstance(again, FileContent) and again.status != status:
                raise UserError(
                    f"{name} has changed while it was read: leave the file alone, and run the same command again"
                )
            yield from chunks_of(again, name, config)
        finally:
            if isinstance(again, FileContent):
                again.close()

    found = gone_through(passes)
    assert found is not None  # a file without events is an error
    return found, digest


def _content(source: Source, opened: dict[Path, zipfile.ZipFile], memory_limit: float) -> bytes | FileContent:
    """The bytes of a recording, of a long file on the disk; UserError where they cannot be read or claim too much.

    `opened` holds the last zip file, as listing a large one takes time and members are read in order.
    """
    assert source.path is not None
    if not source.member:
        try:
            content = FileContent(source.path)
        except FileNotFoundError:
            raise UserError(f"{source.path} is gone: put it back, or leave its class out") from None
        if len(content) > _SHORT:
            return content
        with closing(content):
            return content[: len(content)]
    if source.path not in opened:
        while opened:
            opened.popitem()[1].close()
        opened[source.path] = open_zip(source.path)
    return read_member(opened[source.path], source.member, source.name, memory_limit=memory_limit, times=_TIMES)


def _digest_of(content: Content) -> str:
    """Identifies the bytes of a file, which is closed then."""
    found = hashlib.blake2b(digest_size=16)
    with closing(content) if isinstance(content, FileContent) else nullcontext():
        for start in range(0, len(content), _SHORT):
            found.update(content[start : start + _SHORT])
    return found.hexdigest()


def _digest_said(digest: str, source: Source) -> str:
    """Identifies the bytes of a recording, and which part of it is meant."""
    return digest if source.span is None else f"{digest} {span_said(source.span, from_first=source.from_first)}"


class _Onward:
    """A recording of which stretches of time are looked for, each from where the one before it ended if it can be.

    So those of a list in the order of time take one pass over a long file together, and not one each.
    """

    def __init__(self, recording: Parts) -> None:
        self.recording = recording
        # A pass that was broken off: what is to come, the part that was come to, and the last time before that part.
        self._left: tuple[Iterator[Recording], Recording, int | None] | None = None

    def events(self, start: int | None, stop: int | None) -> Iterator[Recording]:
        """Those from one microsecond on up to another, excluded; None: no bound."""
        left, self._left = self._left, None
        part: Recording | None = None
        coming, before = None, None
        if left is not None and (left[2] is None or (start is not None and left[2] < start)):
            coming, part, before = left
        if coming is None:
            coming = iter(self.recording)
        while (part := next(coming, None) if part is None else part) is not None:
            first = 0 if start is None else int(np.searchsorted(part.t, start))
            end = len(part) if stop is None else int(np.searchsorted(part.t, stop))
            if first < end:
                yield between(part, first, end)
            if end < len(part):
                self._left = coming, part, before
                return
            before, part = int(part.t[-1]), None


def _part_of(onward: _Onward, source: Source) -> Parts:
    """The events of a part of a recording; UserError for none."""
    assert source.span is not None
    recording = onward.recording
    origin = recording.first if source.from_first else 0
    start, stop = (edge if edge is None else origin + edge for edge in source.span)
    found = gone_through(lambda: onward.events(start, stop))
    if found is None:
        whole = recording.first - origin, recording.last + 1 - origin
        raise UserError(
            f"{source.name} has no events: the recording goes {span_said(whole, from_first=source.from_first)}: "
            "correct the row of the list"
        )
    return replace(found, skipped=recording.skipped)


def span_said(span: tuple[int | None, int | None], *, from_first: bool) -> str:
    """A part of a recording in words, in the unit of its list."""
    said = [
        f"{f'{edge / 1e6:.6f}'.rstrip('0').rstrip('.')} s" if from_first else f"{edge} us"
        for edge in span
        if edge is not None
    ]
    words = [word for word, edge in zip(("from", "to"), span, strict=True) if edge is not None]
    return " ".join(f"{word} {each}" for word, each in zip(words, said, strict=True)) or "as a whole"
