"""Rows of a study: the paper's numbers, what was measured beside them, and how both are written.

A row is computed here and nowhere else; the terminal, the page in Markdown, CSV files and the HTML page show it.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import fmean, stdev

from sresnet.models import ModelConfig
from sresnet.models.network import num_parameters
from sresnet.models.size import sketch
from sresnet.search.trials import Outcome
from sresnet.studies.searches import in_words, leaks
from sresnet.studies.study import Cell, Quantity, Result, Study

HEADER = ("row", "column", "paper", "target", "measured", "seeds", "difference", "protocol", "note")
"""Of `Row.texts`."""
DATA_HEADER = (
    *("study", "row", "column", "paper", "target", "mean", "standard_deviation", "seeds", "seeds_wanted"),
    *("difference", "protocol", "num_steps", "values", "failures", "note"),
)
"""Of `Row.data`."""
COST_HEADER = ("parameters", "T", "operations", "energy (µJ)", "core-minutes")
"""Of `Row.texts`, in front of the note, in studies that show costs."""
COST_DATA_HEADER = ("parameters", "time_steps", "operations", "energy_microjoules", "core_minutes", "machine")
"""Of `Row.data`, at the end, in these."""
PROTOCOLS: dict[Quantity, str] = {
    "last-epoch": "last epoch",
    "best-test-epoch": "best test epoch",
    "leak": "learned leak",
    "best-test-epoch-leak": "learned leak, best test epoch",
    "best-leak": "best leak on held-out images",
    "searched-leak": "six best trials of a search",
    "parameters": "count",
}
"""How a number was read, for people."""
DIGITS: dict[Quantity, int] = {
    "parameters": 0,
    **dict.fromkeys(("leak", "best-test-epoch-leak", "best-leak", "searched-leak"), 3),
}
"""After the decimal point; 2 elsewhere."""
COST_DIGITS = {"energy (µJ)": 2, "core-minutes": 1}
"""The same of costs; 0 elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a network costs beside its accuracy; means over the seeds that were run, None where there is none."""

    parameters: int
    """Trainable numbers; of a converted network those of its ANN."""
    num_steps: int
    """Time steps of an inference; of few-spikes neurons those within the one time step."""
    operations: float | None
    """Additions and multiply-accumulates of all synapses per image."""
    energy: float | None
    """Microjoules per image: the arithmetic of synapses and updates in float32 (docs/analysis.md)."""
    core_minutes: float | None
    """Minutes of training times threads, at the median pace of alike epochs; an ANN and its conversion together."""
    machines: tuple[str, ...]
    """Processors that trained it."""

    def numbers(self) -> dict[str, float | None]:
        """By `COST_HEADER`."""
        values = (self.parameters, self.num_steps, self.operations, self.energy, self.core_minutes)
        return dict(zip(COST_HEADER, values, strict=True))


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number of a study: what the paper says and what was measured, over all seeds that were run."""

    study: str
    """Its name."""
    cell: Cell
    values: tuple[float, ...]
    """The number of each seed that was run, those that only another study asks for included."""
    wanted: int
    """Seeds that the study asks for; 0 where nothing has to be trained."""
    failures: tuple[str, ...]
    """Why seeds failed."""
    costs: Costs | None = None
    """Of studies that show them."""
    search: str = ""
    """What was searched, where values are of a search."""

    @property
    def simulated(self) -> str:
        """The data set, where its recordings are simulated; "" for others."""
        return self.cell.simulated

    @property
    def parameters(self) -> int:
        """Of the network."""
        return parameters(self.cell.training.recipe.model)

    @property
    def mean(self) -> float | None:
        """Over seeds; None where there is none."""
        return fmean(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation over seeds; None for fewer than two."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def difference(self) -> float | None:
        """Measured less the paper's number or, where the paper has two, its target."""
        return None if self.mean is None or self.cell.goal is None else self.mean - self.cell.goal

    @property
    def seeds(self) -> int | None:
        """How many there are; None where nothing has to be trained."""
        return len(self.values) if self.wanted else None

    @property
    def protocol(self) -> str:
        """How the number was read."""
        count = self.cell.num_steps
        steps = f", {count} step{'s' if count > 1 else ''}" if count else ""
        return PROTOCOLS[self.cell.quantity] + steps

    def numbers(self) -> dict[str, float | None]:
        """The numbers behind `texts`, by heading."""
        paper, target = self.cell.paper, self.cell.target
        measured = {"measured": self.mean, "seeds": self.seeds, "difference": self.difference}
        return {"paper": paper, "target": target, **measured, **(self.costs.numbers() if self.costs else {})}

    def texts(self) -> dict[str, str]:
        """The row as it is read, by heading."""
        digits = DIGITS.get(self.cell.quantity, 2)
        missing = f" of {self.wanted}" if len(self.values) < self.wanted else ""
        none = "failed" if self.failures else "not run"
        costs = self.costs.numbers() if self.costs else {}
        return {
            "row": self.cell.row,
            "column": self.cell.column,
            "paper": _written(self.cell.paper, digits),
            "target": _written(self.cell.target, digits),
            "measured": spread(self.values, digits) if self.values else none,
            "seeds": f"{len(self.values)}{missing}" if self.wanted else "",
            "difference": _written(self.difference, digits, "+"),
            "protocol": self.protocol,
            **{heading: _written(value, COST_DIGITS.get(heading, 0)) for heading, value in costs.items()},
            "note": "; ".join(part for part in (*self.failures, self.cell.remarks, self.search) if part),
        }

    def data(self) -> dict[str, str | int | float]:
        """The row with all digits and the number of every seed, by heading; "" for what there is not."""
        found: dict[str, str | float | None] = {
            "study": self.study,
            "row": self.cell.row,
            "column": self.cell.column,
            "paper": self.cell.paper,
            "target": self.cell.goal,
            "mean": _rounded(self.mean),
            "standard_deviation": _rounded(self.deviation),
            "seeds": self.seeds,
            "seeds_wanted": self.wanted or None,
            "difference": _rounded(self.difference),
            "protocol": self.cell.quantity,
            "num_steps": self.cell.num_steps,
            "values": " ".join(map(str, self.values)),
            "failures": "; ".join(self.failures),
            "note": "; ".join(filter(None, (self.cell.remarks, self.search))),
        }
        if self.costs:
            numbers = [_rounded(value) for value in self.costs.numbers().values()]
            found |= dict(zip(COST_DATA_HEADER, [*numbers, "; ".join(self.costs.machines)], strict=True))
        return {heading: "" if value is None else value for heading, value in found.items()}


def rows_of(
    study: Study,
    results: Mapping[str, Result],
    failures: Mapping[str, str] | None = None,
    searches: Mapping[str, Outcome] | None = None,
) -> tuple[Row, ...]:
    """A study's rows, one for each cell.

    Args:
        study: at the scale of the results.
        results: key of a training run -> result.
        failures: key of a training run -> why it failed.
        searches: name -> search of hyper-parameters.
    """
    return tuple(row_of(cell, study, results, failures or {}, searches or {}) for cell in study.cells)


def row_of(
    cell: Cell,
    study: Study,
    results: Mapping[str, Result],
    failures: Mapping[str, str],
    searches: Mapping[str, Outcome],
) -> Row:
    """One row; arguments as `rows_of`."""
    search = searches.get(cell.search)
    return Row(
        study=study.name,
        cell=cell,
        values=leaks(search) if search else _values(cell, study.seeds, results),
        search=in_words(search) if search else "",
        wanted=study.seeds if cell.training_runs() else 0,
        failures=_failures_of(cell, study.seeds, failures),
        costs=_costs_of(cell, study.seeds, results) if study.costs else None,
    )


def header_of(study: Study) -> tuple[str, ...]:
    """Of the texts of its rows."""
    return (*HEADER[:-1], *(COST_HEADER if study.costs else ()), HEADER[-1])


def machines_of(rows: Sequence[Row]) -> str:
    """What to say of minutes under a table of costs: the processors that trained these rows; "" for none."""
    found = dict.fromkeys(machine for row in rows if row.costs for machine in row.costs.machines)
    return f"Core-minutes are of {', '.join(found)}." if found else ""


@functools.cache
def parameters(model: ModelConfig) -> int:
    """Trainable numbers of a network."""
    return num_parameters(sketch(model))


# Numbers of seeds -----------------------------------------------------------------------------------------------------


def _values(cell: Cell, wanted: int, results: Mapping[str, Result]) -> tuple[float, ...]:
    """The cell's number for each of `_seeds_of`, in order of seeds."""
    if cell.quantity == "parameters":
        return (float(parameters(cell.training.recipe.model)),)
    if cell.quantity == "searched-leak":
        return ()
    if cell.quantity == "best-leak":
        found = [_best_leak(cell, seed, results) for seed in _seeds_of(cell, wanted, results)]
    else:
        found = [result.value(cell.quantity, cell.num_steps) for result in results_of(cell, wanted, results)]
    return tuple(value for value in found if value is not None)


def _seeds_of(cell: Cell, wanted: int, results: Mapping[str, Result]) -> list[int]:
    """The seeds of a cell's training that were run: those of 0 to `wanted` - 1, and those that follow on them.

    Another study may ask for more seeds of the same training run.
    """
    found: list[int] = []
    for seed in count():
        if cell.training.with_seed(seed).key() in results:
            found.append(seed)
        elif seed >= wanted:
            break
    return found


def results_of(cell: Cell, wanted: int, results: Mapping[str, Result]) -> list[Result]:
    """The results of a cell's training, of `_seeds_of`."""
    return [results[cell.training.with_seed(seed).key()] for seed in _seeds_of(cell, wanted, results)]


def _costs_of(cell: Cell, wanted: int, results: Mapping[str, Result]) -> Costs:
    """What its network costs, over the seeds that were run."""
    chains = [cell.training.with_seed(seed).chain() for seed in _seeds_of(cell, wanted, results)]
    found = [[results[each.key()] for each in chain if each.key() in results] for chain in chains]
    whole = [runs for runs, chain in zip(found, chains, strict=True) if len(runs) == len(chain)]
    minutes = [sum(60 * run.undisturbed_hours * run.threads for run in runs) for runs in whole]
    counts = [runs[-1].activity or {} for runs in found]
    operations, energy = (
        [count[name] for count in counts if name in count] for name in ("synaptic_operations", "energy")
    )
    devices = dict.fromkeys(str(run.environment.get("device", "")) for runs in found for run in runs)
    return Costs(
        parameters=parameters(cell.training.recipe.model),
        num_steps=cell.training.num_steps,
        operations=fmean(operations) if operations else None,
        energy=fmean(energy) if energy else None,
        core_minutes=fmean(minutes) if minutes else None,
        machines=tuple(filter(None, devices)),
    )


def _best_leak(cell: Cell, seed: int, results: Mapping[str, Result]) -> float | None:
    """The leak of the candidate that is best on held-out training images; None unless all were run.

    Of equally good ones the first.
    """
    scored = []
    for candidate in cell.candidates:
        result = results.get(candidate.with_seed(seed).key())
        if not result or "validation_top1" not in result.result:
            return None
        scored.append((float(result.result["validation_top1"]), candidate.recipe.model.leak))
    return max(scored, key=lambda pair: pair[0])[1]


def _failures_of(cell: Cell, wanted: int, failures: Mapping[str, str]) -> tuple[str, ...]:
    """Why seeds of a cell failed, what they start from included."""
    found: list[str] = []
    for seed in range(wanted):
        for training in cell.training_runs():
            reasons = [failures[each.key()] for each in training.with_seed(seed).chain() if each.key() in failures]
            found += [f"seed {seed} failed: {reason}" for reason in reasons[:1]]
    return tuple(dict.fromkeys(found))


# Numbers as text ------------------------------------------------------------------------------------------------------


def spread(values: Sequence[float], digits: int, *, signed: bool = False) -> str:
    """Mean, `signed` with its sign where positive too, and where there are several values their standard deviation."""
    deviation = f" ± {stdev(values):,.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):{'+' if signed else ''},.{digits}f}{deviation}"


def _written(value: float | None, digits: int, sign: str = "") -> str:
    """A number for people, or nothing."""
    return "" if value is None else f"{value:{sign},.{digits}f}"


def _rounded(value: float | None) -> float | None:
    """A number for programs without what comes of adding up in binary."""
    return None if value is None else round(value, 6)
