"""A search on a page: what it found, and how accuracy depends on what was searched."""

import math
from dataclasses import replace

from sresnet.models.summary import describe
from sresnet.report.charts import Axis, Line, LineChart
from sresnet.report.document import Block, Cards, Code, Figure, Number, Paragraph, Section, Table, columns
from sresnet.search.space import Choice, Dimension, Range, Value, in_short, name_of
from sresnet.search.trials import Outcome, Trial
from sresnet.train.recipe_file import as_toml

BEST = 5
"""Trials with colours of their own."""
_NAMES = {
    "accuracy": "held-out accuracy, %",
    "operations": "synaptic operations per image",
    "steps": "time steps",
}


def search_sections(found: Outcome, shares: dict[str, float]) -> tuple[Section, ...]:
    """The page about a search.

    Args:
        found: what has come out of it.
        shares: field -> share of the variation of the accuracy that it explains.
    """
    several = len(found.config.objectives) > 1
    sections = [_summary(found)]
    if several and found.finished:
        sections.append(_pareto(found))
    if not several and any(len(each.accuracies) > 1 for each in found.trials):
        sections.append(Section(title="Curves", content=(_curves(found),)))
    if found.finished:
        sections.append(_fields(found, shares))
    return (*sections, _trials(found), _origin(found))


def title_of(found: Outcome) -> str:
    """What the page is about."""
    recipe = found.config.recipe
    return f"Search: {describe(recipe.model).partition(',')[0]} on {recipe.data.name}"


def _summary(found: Outcome) -> Section:
    """What was searched, and the best trial."""
    config, finished = found.config, found.finished
    fields = ", ".join(f"{field} over {each}" for field, each in config.space.items())
    states = [each.state for each in found.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) or "none has begun"
    content: list[Block] = [
        Paragraph(f"{describe(config.recipe.model)} on {config.recipe.data.name}: {fields}.", style="lead")
    ]
    cards = [(str(len(found.trials)), f"trials: {counts}")]
    seconds = sum(each.seconds for each in found.trials)
    cards.append((f"{seconds / 3600:.2f} h" if seconds >= 360 else f"{seconds / 60:.1f} min", "of training"))
    if finished and "accuracy" in config.objectives:
        (best,) = found.best(1)
        values = ", ".join(f"{name_of(field)} {in_short(value)}" for field, value in best.values.items())
        accuracy = best.objectives[found.accuracy_at]
        cards.insert(0, (f"{accuracy:.2f} %", f"of the held-out images, trial {best.number}: {values}"))
    content.append(Cards(tuple(cards)))
    if finished and "accuracy" in config.objectives:
        said = (
            "The best of many held-out accuracies is higher than that of the same recipe on new images: train it "
            "again and read the test images once."
        )
        content.append(Paragraph(said, style="soft"))
    return Section(title="Summary", content=tuple(content))


def _curves(found: Outcome) -> Figure:
    """Accuracy over epochs, the best trials with colours of their own."""
    best = [each.number for each in found.best(BEST)]
    lines = []
    for each in sorted(found.trials, key=lambda trial: best.index(trial.number) if trial.number in best else BEST):
        if each.accuracies:
            epochs, values = zip(*each.accuracies, strict=True)
            place = best.index(each.number) if each.number in best else None
            name = f"trial {each.number}" if place is not None else ""
            line = Line(name=name, x=epochs, y=values, style=BEST if place is None else place)
            lines.append(line if place is not None else replace(line, form="dots"))
    chart = LineChart(
        title="Held-out accuracy of every trial",
        lines=tuple(lines),
        x=Axis(label="epoch"),
        y=Axis(label=_NAMES["accuracy"]),
    )
    return Figure(name="trials", chart=chart, caption=f"The {len(best)} best as lines, all others dotted.")


def _pareto(found: Outcome) -> Section:
    """Two objectives of all finished trials, and the front; others beside them in the table."""
    front, names = found.front(), found.config.objectives
    at, over = found.accuracy_at, next(place for place in range(len(names)) if place != found.accuracy_at)

    def points(name: str, trials: tuple[Trial, ...], style: int, hollow: bool) -> Line:
        ordered = sorted(trials, key=lambda each: each.objectives[over])
        x, y = zip(*((each.objectives[over], each.objectives[at]) for each in ordered), strict=True)
        return Line(name=name, x=x, y=y, form="points", style=style, hollow=hollow)

    lines = [points("Pareto front", front, 0, False)]
    rest = tuple(each for each in found.finished if each not in front)
    if rest:
        lines.append(points("other trials", rest, 1, True))
    x = Axis(label=_NAMES[names[over]], logarithmic=names[over] == "operations")
    chart = LineChart(
        title=f"{_NAMES[names[at]].partition(',')[0].capitalize()} over {_NAMES[names[over]]}",
        lines=tuple(lines),
        x=x,
        y=Axis(label=_NAMES[names[at]]),
    )
    words = Paragraph("The front: trials that no other beats in one objective without losing in another.")
    return Section(title="Pareto front", content=(words, Figure(name="front", chart=chart)))


def _fields(found: Outcome, shares: dict[str, float]) -> Section:
    """How accuracy depends on each field, alone and together."""
    content: list[Block] = []
    if shares:
        content.append(
            Table(
                name="importance",
                title="What differences come from, %",
                columns=columns("field | share:.0f"),
                rows=tuple((field, 100 * share) for field, share in shares.items()),
            )
        )
    content += [Figure(name=f"over-{name_of(field)}", chart=_slice(found, field)) for field in found.config.space]
    if len(found.config.space) > 1:
        caption = (
            "A line for each of the best trials, from field to field; 0 is the lowest value of each, 1 the highest."
        )
        content.append(Figure(name="together", chart=_parallel(found), caption=caption))
    if shares:
        said = "Shares are estimated from these few trials (PED-ANOVA, Watanabe et al. 2023)."
        content.append(Paragraph(said, style="soft"))
    return Section(title="What was searched", content=tuple(content))


def _slice(found: Outcome, field: str) -> LineChart:
    """The main objective of finished trials over one field."""
    each, at = found.config.space[field], found.accuracy_at
    trials = sorted(found.finished, key=lambda trial: _at(each, trial.values[field]))
    x = [_at(each, trial.values[field]) for trial in trials]
    names = tuple(map(str, each.values)) if isinstance(each, Choice) else ()
    best = found.best(1)[0]
    lines = (
        Line(name="trials", x=x, y=[trial.objectives[at] for trial in trials], form="points", style=1, hollow=True),
        Line(name="best", x=[_at(each, best.values[field])], y=[best.objectives[at]], form="points", own=True),
    )
    name = _NAMES[found.config.objectives[at]]
    return LineChart(
        title=f"{name.partition(',')[0].capitalize()} over {name_of(field)}",
        lines=lines,
        x=Axis(label=name_of(field).replace("_", " "), logarithmic=isinstance(each, Range) and each.log, names=names),
        y=Axis(label=name),
    )


def _at(dimension: Dimension, value: Value) -> float:
    """Where a value stands on its axis."""
    return float(dimension.values.index(value)) if isinstance(dimension, Choice) else float(value)


def _parallel(found: Outcome) -> LineChart:
    """The best trials across all fields."""
    space = found.config.space
    lines = tuple(
        Line(
            name=f"trial {trial.number}",
            x=range(len(space)),
            y=[_unit(each, trial.values[field]) for field, each in space.items()],
            style=place,
        )
        for place, trial in enumerate(found.best(BEST))
    )
    return LineChart(
        title="The best trials across all fields",
        lines=lines,
        x=Axis(label="field", names=tuple(name_of(field).replace("_", " ") for field in space)),
        y=Axis(label="place between lowest and highest", limits=(0, 1)),
    )


def _unit(dimension: Dimension, value: Value) -> float:
    """Where a value lies between the lowest, 0, and the highest, 1."""
    if isinstance(dimension, Choice):
        return dimension.values.index(value) / (len(dimension.values) - 1)
    low, high, x = float(dimension.low), float(dimension.high), float(value)
    if dimension.log:
        low, high, x = math.log(low), math.log(high), math.log(x)
    return (x - low) / (high - low)


def _trials(found: Outcome) -> Section:
    """All of them."""
    fields = list(found.config.space)
    several = len(found.config.objectives) > 1
    rows = []
    for each in found.trials:
        last = each.accuracies[-1] if each.accuracies else None
        measured = each.objectives or ((last[1],) if last and not several else ())
        cells = [*measured, *[None] * (len(found.config.objectives) - len(measured))]
        values = [_number(each.values.get(field)) for field in fields]
        rows.append(
            (each.number, each.state, last[0] if last else None, *cells, *values, each.seconds / 60, each.fault)
        )
    measures = " | ".join(f"{_NAMES[name]}:,.5g" for name in found.config.objectives)
    header = f"trial:d | state | epochs:d | {measures} | {' | '.join(map(name_of, fields))} | minutes:,.2f"
    if any(each.fault for each in found.trials):
        header += " | fault"
    else:
        rows = [row[:-1] for row in rows]
    table = Table(name="all-trials", title="All trials", columns=columns(header), rows=tuple(rows))
    words = (
        "Of a trial that ended early, the accuracy after its last epoch. Hyperband goes on with the best of those that "
        "have reached the same epoch."
    )
    return Section(title="Trials", content=(table, Paragraph(words, style="soft")) if not several else (table,))


def _number(value: Value | None) -> Number | str | None:
    """A value of a field as a cell."""
    if value is None or isinstance(value, str | bool):
        return None if value is None else str(value)
    return Number(float(value), in_short(value))


def _origin(found: Outcome) -> Section:
    """How it was searched, and the best recipe."""
    config = found.config
    how = {
        "tpe": "Optuna's multivariate TPE",
        "bohb": "densities as in BOHB (Falkner et al. 2018)",
        "random": "uniformly",
    }[config.sampler]
    early = config.reduction and len(config.objectives) == 1 and config.min_epochs < config.recipe.train.epochs
    halving = f"one in {config.reduction} goes on from rung to rung, the first after epoch {config.min_epochs}"
    said = f"Values are drawn by {how}; {halving if early else 'every trial is trained to the end'}."
    content: list[Block] = [Paragraph(said)]
    best = found.best(1)
    if best:
        content.append(Code(text=as_toml(found.recipe(best[0])), summary="The recipe of the best trial, as TOML"))
    return Section(title="How it was searched", content=tuple(content))
