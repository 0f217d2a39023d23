"""Gestures before a simulated camera, told by time alone: python experiments/simulated_gestures.py FOLDER.

Makes a set in the likeness of DVS128 Gesture in FOLDER, unless its list is there: 16 users in two lightings, a file
each in one of three formats, 20 gestures in a file one behind the other, and `list.csv`, which says what is where and
has four of the users as the test set. In every gesture hands move along a ring, and each place of it is entered and
left as often in one class as in another: the ten classes (`GESTURES`) differ in the order of time, and next to nothing
in the sum over it. Users differ in speed, place, size and slant of the ring, size and brightness of their hands,
thresholds and noise of the camera.

Then small networks are trained by the recipe "event-folder" without its mirroring, three seeds each: with 8 time steps,
and with one, which sees the sum alone. A third row, one seed, has the mirroring, which makes clockwise anticlockwise
under the same label. Test users are classified once, after the last epoch. Writes results/simulated-gestures.json and a
table beside it; `--make` only makes the set, `--finished` trains nothing and writes what there is. Several processes
may run it once the set is made: each run is made once.
"""

import struct
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from experiment import accuracy, carry_out, flags, heading, machine, save, study
from nearest_neighbour import largest_class, nearest_neighbour
from numpy.typing import NDArray

from sresnet.data import AnyData, EventConfig, Splits, open_data
from sresnet.data.events.recording import Recording
from sresnet.data.events.simulate import DVSConfig, simulate_film
from sresnet.files import write_whole
from sresnet.models import SResNetConfig
from sresnet.studies.study import Result, Study
from sresnet.train.recipe import Recipe
from sresnet.train.recipes import RECIPES

COMMAND = "python experiments/simulated_gestures.py FOLDER"
"""What makes the records."""

SEEDS, EPOCHS = 3, 24
MIRRORED = "8 steps, half of the clips mirrored"
"""The row of one seed, trained last."""
SIDE, USERS, TEST_USERS, REPEATS = 128, 16, 4, 2
"""Pixels of the sensor, people, how many of them (the last) are tested on, gestures of each class in a recording."""
LIGHTINGS = ("bright", "dim")
PICTURE = 8_000
"""Microseconds from one picture of the film to the next."""
LIST = "list.csv"
HEADER = "file,label,start_us,stop_us,split,group"

Floats = NDArray[np.float64]
Way = Callable[[Floats], list[Floats]]


def _there_and_back(u: Floats) -> Floats:
    """From 0 to 1 and back, at even speed."""
    return 1 - abs(2 * u - 1)


def _jerks(u: Floats) -> Floats:
    """From 0 to 1 in four moves, each followed by a rest as long."""
    return (np.floor(4 * u) + np.minimum(1, 2 * (4 * u % 1))) / 4


GESTURES: dict[str, Way] = {
    "circle clockwise": lambda u: [2 * u],
    "circle anticlockwise": lambda u: [-2 * u],
    "circle to and fro": lambda u: [_there_and_back(u)],
    "jerks clockwise": lambda u: [2 * _jerks(u)],
    "jerks anticlockwise": lambda u: [-2 * _jerks(u)],
    "roll clockwise": lambda u: [u, u + 0.5],
    "roll anticlockwise": lambda u: [-u, 0.5 - u],
    "roll to and fro": lambda u: [_there_and_back(u) / 2, _there_and_back(u) / 2 + 0.5],
    "cross": lambda u: [u, -u],
    "spread": lambda u: [_there_and_back(2 * u % 1) / 2],
}
"""Class -> turns along the ring of each hand at the times u, 0 to 1. In all, hands come to each place twice.

In "spread" it is how far an arm reaches along the ring to either side: each place is covered and uncovered twice.
"""


@dataclass(frozen=True, kw_only=True)
class User:
    """How somebody moves, and is seen."""

    seconds: float
    """A gesture takes about so long."""
    radius: float
    """Of the ring, in pixels, before it is squashed."""
    squash: float
    """Its shorter half axis in radii."""
    slant: float
    """Of its longer one, in radians."""
    place: tuple[float, float]
    """Of its middle: column, row."""
    hand: float
    """Radius of a hand in pixels."""
    bright: float
    """Intensity of hands; that of the background is `dull`."""
    dull: float
    threshold: float
    noise: float
    """Of the camera: events per pixel and second."""


def user_of(rng: np.random.Generator) -> User:
    """Somebody drawn at random."""
    return User(
        seconds=rng.uniform(1.2, 2.2),
        radius=rng.uniform(18, 32),
        squash=rng.uniform(0.7, 1.0),
        slant=rng.uniform(0, np.pi),
        place=(rng.uniform(54, 74), rng.uniform(54, 74)),
        hand=rng.uniform(4, 7),
        bright=rng.uniform(0.5, 0.9),
        dull=rng.uniform(0.05, 0.15),
        threshold=rng.uniform(0.35, 0.5),
        noise=rng.uniform(0.02, 0.2),
    )


def film(gesture: str, user: User, rng: np.random.Generator) -> tuple[NDArray[np.float32], int]:
    """Intensities [S, SIDE, SIDE] of a gesture from a place of the ring that is drawn, and how many microseconds."""
    duration = round(1e6 * user.seconds * rng.uniform(0.9, 1.1))
    column, row = np.array(user.place) + rng.normal(0, 2, 2)
    radius, begin = user.radius * rng.uniform(0.9, 1.1), rng.uniform()
    u = np.linspace(0, 1, 1 + round(duration / PICTURE))
    cos, sin = np.cos(user.slant), np.sin(user.slant)

    def ring(turns: Floats) -> tuple[Floats, Floats]:
        """Columns and rows of places on the ring; rows grow downwards, so that turns are clockwise."""
        along, across = radius * np.cos(2 * np.pi * turns), radius * user.squash * np.sin(2 * np.pi * turns)
        return column + cos * along - sin * across, row + sin * along + cos * across

    x, y = np.meshgrid(np.arange(SIDE, dtype=np.float32), np.arange(SIDE, dtype=np.float32))

    def distance(turns: Floats) -> NDArray[np.float32]:
        """Of each pixel to a place of each picture, [S, SIDE, SIDE]."""
        columns, rows = (each.astype(np.float32)[:, None, None] for each in ring(turns))
        return np.hypot(x - columns, y - rows)

    ways = GESTURES[gesture](u)
    if gesture == "spread":
        (reach,) = ways
        turns = np.arange(256) / 256
        all_of_it = distance(begin + turns)
        # The share of a turn from the middle of the arm to the place of the ring that is next to a pixel.
        away = abs((turns[all_of_it.argmin(0)] + 0.5) % 1 - 0.5)
        ends = np.minimum(distance(begin + reach), distance(begin - reach))
        near = np.where(away <= reach[:, None, None], all_of_it.min(0), ends)
    else:
        near = np.minimum.reduce([distance(begin + way) for way in ways])
    covered = np.clip(user.hand - near + 0.5, 0, 1)  # an edge of one pixel
    return (user.dull + (user.bright - user.dull) * covered).astype(np.float32), duration


@dataclass(frozen=True)
class Part:
    """A gesture in a recording, in microseconds of its clock, as somebody has marked it."""

    label: str
    start: int
    stop: int


def recording(
    seed: int, number: int, lighting: str, *, repeats: int = REPEATS, names: tuple[str, ...] = tuple(GESTURES)
) -> tuple[Recording, list[Part]]:
    """All gestures of one user in one lighting, in an order that is drawn, with pauses; what is where in it."""
    user = user_of(np.random.default_rng([seed, number]))
    rng = np.random.default_rng([seed, number, 1 + LIGHTINGS.index(lighting)])
    if lighting == "dim":
        user = replace(user, bright=user.bright / 2, dull=user.dull / 2, noise=2 * user.noise)
    now = int(rng.integers(0, 2_000_000_000))
    parts: list[Part] = []
    seen = []
    for index in rng.permutation(repeats * len(names)):
        pictures, duration = film(names[index % len(names)], user, rng)
        pause = int(rng.integers(300_000, 700_000))
        camera = DVSConfig(
            threshold=user.threshold, threshold_spread=0.03, noise_rate=user.noise, duration=duration + pause
        )
        # Hands rest where they have come to, then rise elsewhere, which the camera does not see.
        rest = np.repeat(pictures[-1:], 1 + round(pause / PICTURE), axis=0)
        found = simulate_film(np.concatenate([pictures, rest]), camera, seed=int(rng.integers(1 << 31)))
        seen.append(replace(found, t=found.t + now))
        # Nobody marks the very moment.
        early, late = rng.integers(0, 100_000, 2).tolist()
        stop = now + duration + late
        parts.append(Part(names[index % len(names)], max(now - early, parts[-1].stop if parts else 0), stop))
        now += duration + pause
    t, x, y, on = (np.concatenate([getattr(each, name) for each in seen]) for name in ("t", "x", "y", "on"))
    return replace(seen[0], t=t, x=x, y=y, on=on), parts


def as_aedat2(events: Recording) -> bytes:
    """As jAER writes what a DVS128 has seen: big-endian pairs of address and time, x from the right, y from below."""
    pairs = np.empty((len(events), 2), ">u4")
    x, y = SIDE - 1 - events.x.astype(np.uint32), SIDE - 1 - events.y.astype(np.uint32)
    pairs[:, 0] = y << 8 | x << 1 | ~events.on
    pairs[:, 1] = events.t
    return b"#!AER-DAT2.0\r\n# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n" + pairs.tobytes()


def as_dat(events: Recording) -> bytes:
    """As Prophesee's software does: little-endian pairs of time and address."""
    pairs = np.empty((len(events), 2), "<u4")
    pairs[:, 0] = events.t
    pairs[:, 1] = events.on.astype(np.uint32) << 28 | events.y.astype(np.uint32) << 14 | events.x
    header = f"% Data file containing CD events.\n% Version 2\n% Height {SIDE}\n% Width {SIDE}\n"
    return header.encode() + struct.pack("BB", 0x0C, 8) + pairs.tobytes()


WRITERS: dict[str, Callable[[Recording], bytes]] = {"aedat": as_aedat2, "dat": as_dat}
"""Ending -> the bytes of a file; the third format is `.npz`, which NumPy writes itself."""


def make(
    folder: Path,
    seed: int = 0,
    *,
    users: int = USERS,
    tested: int = TEST_USERS,
    repeats: int = REPEATS,
    names: tuple[str, ...] = tuple(GESTURES),
) -> None:
    """Write recordings and their list, which comes last; nothing where the list is there."""
    if (folder / LIST).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    lines = [HEADER]
    for number in range(users):
        for lighting in LIGHTINGS:
            events, parts = recording(seed, number, lighting, repeats=repeats, names=names)
            ending = ("aedat", "dat", "npz")[number % 3]
            name = f"user{number + 1:02d}_{lighting}.{ending}"
            if ending == "npz":
                np.savez(folder / name, t=events.t, x=events.x, y=events.y, p=events.on)
            else:
                write_whole(folder / name, WRITERS[ending](events))
            split = "test" if number >= users - tested else "train"
            lines += [f"{name},{part.label},{part.start},{part.stop},{split},user{number + 1:02d}" for part in parts]
    write_whole(folder / LIST, ("\n".join(lines) + "\n").encode())


def rows() -> dict[str, Recipe]:
    """Row -> recipe."""
    recipe = RECIPES["event-folder"][1]
    assert isinstance(recipe.model, SResNetConfig)
    assert isinstance(recipe.data, EventConfig)
    data = replace(recipe.data, split="official")
    train = replace(recipe.train, epochs=EPOCHS)
    found = {}
    for row, steps, flip in (
        ("8 steps in time", 8, False),
        ("the sum over time: 1 step", 1, False),
        (MIRRORED, 8, True),
    ):
        model = replace(recipe.model, depth=8, num_steps=steps, num_classes=len(GESTURES))
        found[row] = replace(recipe, model=model, data=replace(data, flip=flip), train=train)
    return found


def seeds_of(row: str) -> int:
    """How many of them."""
    return 1 if row == MIRRORED else SEEDS


def studies() -> list[Study]:
    """What is trained."""
    return [study(row, {row: recipe}, seeds_of(row)) for row, recipe in rows().items()]


def main() -> None:
    """Make, run and write."""
    parser = flags(__doc__, "runs/simulated-gestures", "folder")
    parser.add_argument("--make", action="store_true", help="make the set and train nothing")
    parser.add_argument("--cache-dir", default="", help="where frames are kept; by default ~/.cache/sresnet/frames")
    options = parser.parse_args()
    if not options.tables and not options.folder:
        raise SystemExit("simulated-gestures: give a folder, in which the set is made or lies")
    folder = Path(options.folder)
    if not options.tables:
        make(folder)
    if options.make:
        return

    def open_(data: AnyData, seed: int, num_steps: int) -> Splits:
        # The seed is of the held-out part, and there is none.
        return open_data(data, str(folder / LIST), seed=0, num_steps=num_steps, cache_dir=options.cache_dir)

    found: dict[str, float] = {}

    def look(result: Result) -> Result:
        if not found:
            recipe = next(iter(rows().values()))
            splits = open_(recipe.data, 0, recipe.model.num_steps)
            found["nearest_neighbour"] = nearest_neighbour(splits)
            found["largest_class"] = largest_class(splits.test)
        return replace(result, result=result.result | {"compare": found, "simulated_gestures": True})

    wanted = studies()
    if carry_out(wanted, open_, options):
        save("simulated-gestures", wanted, options, table, COMMAND, look)


def table(found: Mapping[str, list[Result]]) -> list[str]:
    """The lines of results/simulated-gestures.md."""
    first = next(iter(found.values()))[0]
    split, compare = first.result["split"], first.result["compare"]
    recordings = split["recordings"]
    lines = [
        *heading("Gestures that only time tells apart, SIMULATED", COMMAND, "simulated-gestures"),
        "",
        *textwrap.wrap(f"{len(GESTURES)} classes: {', '.join(GESTURES)}.", 120),
        f"{USERS} simulated users, {TEST_USERS} of them tested on and never trained on; parts of recordings of three",
        f"formats, named by a list: {recordings['train']:,} to train on and {recordings['test']:,} to test on.",
        f"S-ResNet{first.config['model']['depth']}, {first.config['model']['base_filters']} filters, "
        f"{first.config['train']['epochs']} epochs, frames of 32x32 pixels.",
        "",
        "| what is seen | seeds | test accuracy, % |",
        "| --- | --- | --- |",
    ]
    lines += [f"| {row} | {len(group)} | {accuracy(group)} |" for row, group in found.items()]
    lines += [
        f"| the sum over time, by its nearest neighbour | | {compare['nearest_neighbour']:.2f} |",
        f"| nothing: the largest class | | {compare['largest_class']:.2f} |",
        "",
        "Mean and standard deviation over the seeds; test users are classified once, after the last epoch. None of",
        "these is an accuracy on DVS128 Gesture.",
    ]
    return [*lines, *missing(found), "", f"{machine(found)}."]


def missing(found: Mapping[str, list[Result]]) -> list[str]:
    """Says which runs were not finished; nothing where all were."""
    left = {row: seeds_of(row) - len(found.get(row, [])) for row in rows()}
    names = "; ".join(f"{row}, {count} of {seeds_of(row)}" for row, count in left.items() if count)
    return ["", f"Runs that are not finished and not in this record: {names}."] if names else []


if __name__ == "__main__":
    main()
