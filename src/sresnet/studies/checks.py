"""Kinds of checks that claims are made of: each looks at some cells and says whether something holds of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import hypot, inf, sqrt
from statistics import fmean, stdev
from typing import Any

from sresnet.search.trials import Outcome
from sresnet.studies import measures, searches
from sresnet.studies.cells import Pick
from sresnet.studies.evidence import (
    ACCURACY,
    STANDARD_ERRORS,
    Evidence,
    Finding,
    Measure,
    Sample,
    against,
    all_of,
    binomial,
    decided,
    images_of,
    missing,
    near,
    noise_of,
    versus,
)
from sresnet.studies.paper import BOOSTED_100, DVS_64
from sresnet.studies.published import TABLE_14
from sresnet.studies.rows import parameters, spread
from sresnet.studies.study import Result

Pair = tuple[Pick, Pick]


@dataclass(frozen=True)
class Check:
    """Something that holds of some cells or not."""

    picks: tuple[Pick, ...]
    """The cells that it looks at."""
    finding: Callable[[Evidence], Finding]

    def __call__(self, evidence: Evidence) -> Finding:
        return self.finding(evidence)


def _of_pairs(
    pairs: Sequence[Pair],
    measure: Measure,
    compare: Callable[[Sample, Sample], Finding],
    also: Sequence[Pair] = (),
) -> Check:
    """What holds in every pair: `compare` sees a sample of the first and one of the second.

    `also`: pairs of rows that only some scales have, and that count there.
    """

    def of_one(evidence: Evidence, first: Pick, second: Pick) -> Finding:
        a, b = evidence.sample(first, measure), evidence.sample(second, measure)
        return compare(a, b) if a and b else _missing_of((first, a), (second, b))

    def check(evidence: Evidence) -> Finding:
        there = [pair for pair in also if all(map(evidence.has, pair))]
        return all_of([of_one(evidence, *pair) for pair in (*pairs, *there)])

    return Check(sum(pairs, ()), check)


def greater(*pairs: Pair, measure: Measure = ACCURACY, margin: float = 0.0, also: Sequence[Pair] = ()) -> Check:
    """In every pair, the first is greater than the second less `margin`; `also` as in `_of_pairs`."""
    return _of_pairs(pairs, measure, lambda a, b: versus(a, b, margin), also)


def close(*pairs: Pair, margin: float) -> Check:
    """In every pair, both differ by less than `margin`."""
    return _of_pairs(pairs, ACCURACY, lambda a, b: near(a, b, margin))


def keeps(part: float, *pairs: Pair) -> Check:
    """In every pair, the first has at least this part of the second's accuracy."""

    def compare(a: Sample, b: Sample) -> Finding:
        noise = STANDARD_ERRORS * sqrt(a.error**2 + (part * b.error) ** 2)
        return Finding(
            verdict=decided(a.mean - part * b.mean, noise),
            evidence=f"{a} of {b}: {100 * a.mean / b.mean:.1f} % kept, noise {100 * noise / b.mean:.1f}",
        )

    return _of_pairs(pairs, ACCURACY, compare)


def _missing_of(*found: tuple[Pick, Sample | None]) -> Finding:
    """Which of these were not measured."""
    return missing(*(f"{pick.label} of {pick.study}" for pick, sample in found if sample is None))


def _above_zero(label: str, values: Sequence[float], what: str, unit: str = "") -> Finding:
    """Whether numbers of one network, such as one per layer, have a mean above 0; noise is their own."""
    noise = STANDARD_ERRORS * stdev(values) / sqrt(len(values)) if len(values) > 1 else inf
    evidence = f"{label} {spread(values, 2)}{unit} ({len(values)} {what}), noise {noise:.2f}"
    return Finding(verdict=decided(fmean(values), noise), evidence=evidence)


def _above_zero_in(
    picks: tuple[Pick, ...], read: Callable[[list[Result]], list[float]], what: str, unit: str = ""
) -> Check:
    """In every network, what is read off its results has a mean above 0."""

    def check(evidence: Evidence) -> Finding:
        found = [(pick.label, read(evidence.of(pick))) for pick in picks]
        return all_of([_above_zero(label, values, what, unit) if values else missing(label) for label, values in found])

    return Check(picks, check)


def gamma_localises(*picks: Pick) -> Check:
    """In every network, activity follows gamma over the steps; layers of all seeds together."""

    def read(results: list[Result]) -> list[float]:
        return [value for result in results for value in measures.gamma_and_activity(result)]

    return _above_zero_in(picks, read, "layers, all seeds")


def striped(*picks: Pick, own: bool = False) -> Check:
    """In every network, the joins send more than the layers between them."""

    def read(results: list[Result]) -> list[float]:
        return measures.mean_over_seeds([row for result in results if (row := measures.stripes_of(result, own))])

    return _above_zero_in(picks, read, "blocks", " points")


def jumps(*picks: Pick) -> Check:
    """Over all networks and seeds, activity changes more at the joins with a 1x1 skip than at the others."""

    def check(evidence: Evidence) -> Finding:
        found = {pick: [pair for result in evidence.of(pick) if (pair := measures.jumps_of(result))] for pick in picks}
        if absent := [pick.label for pick, pairs in found.items() if not pairs]:
            return missing(*absent)
        parts = [
            f"{pick.label} {fmean(at for at, _ in pairs):.2f} points there and {fmean(off for _, off in pairs):.2f} "
            "elsewhere"
            for pick, pairs in found.items()
        ]
        total = _above_zero("difference", [at - off for pairs in found.values() for at, off in pairs], "networks")
        return Finding(verdict=total.verdict, evidence="; ".join([*parts, total.evidence]))

    return Check(picks, check)


def slower_leak(search: Pick, learned: Pick) -> Check:
    """The learned leak is above every leak of the search that could be the best one, given the noise."""

    def check(evidence: Evidence) -> Finding:
        sample, candidates = evidence.sample(learned, measures.LEAK), evidence.cell(search).candidates
        scores: dict[float, tuple[float, int]] = {}
        for candidate in candidates:
            result = evidence.results.get(candidate.key())
            if result and "validation_top1" in result.result:
                score = float(result.result["validation_top1"])
                scores[candidate.recipe.model.leak] = score, images_of(result, "validation")
        if sample is None or len(scores) < len(candidates):
            return missing(*([] if sample else [learned.label]), *([] if scores else [search.label]))
        best = max(scores, key=lambda leak: scores[leak][0])
        top = scores[best][0]
        good = [
            leak
            for leak, (score, images) in scores.items()
            if top - score <= STANDARD_ERRORS * sqrt(2) * binomial(top, images)
        ]
        noise = STANDARD_ERRORS * sample.error
        above, below = sample.mean - noise > max(good), sample.mean + noise < min(good)
        tried = ", ".join(f"{leak:g}: {score:.2f} %" for leak, (score, _) in scores.items())
        return Finding(
            verdict="holds" if above else "fails" if below else "within noise",
            evidence=f"{sample}; held-out accuracy by leak {tried}; cannot be told from the best ({best:g}): "
            f"{', '.join(f'{leak:g}' for leak in good)}",
        )

    return Check((search, learned), check)


NEARLY = 0.9
"""Part of the accuracy that training from scratch ends with, which both have to reach."""


def converges_faster(*pairs: Pair) -> Check:
    """In every pair, the first is more accurate in its first epoch and needs no more epochs to `NEARLY` of the second.

    On training images; seeds are compared one by one. A shorter training run that ends before either is there decides
    nothing.
    """

    def by_seed(evidence: Evidence, pick: Pick) -> dict[Any, list[float]]:
        return {result.config.get("seed"): measures.training_accuracies(result) for result in evidence.of(pick)}

    def of_one(evidence: Evidence, tuned: Pick, scratch: Pick) -> Finding:
        a, b = evidence.sample(tuned, measures.FIRST_EPOCH), evidence.sample(scratch, measures.FIRST_EPOCH)
        if a is None or b is None:
            return _missing_of((tuned, a), (scratch, b))
        difference, noise = a.mean - b.mean, noise_of(a, b)
        verdict, epochs, curves = decided(difference, noise), [], by_seed(evidence, tuned)
        for seed, other in by_seed(evidence, scratch).items():
            curve = curves.get(seed)
            if not curve:
                continue
            one, two = measures.epochs_to(curve, NEARLY * other[-1]), measures.epochs_to(other, NEARLY * other[-1])
            if one > two and verdict == "holds":
                verdict = "fails" if len(curve) >= two else "within noise"
            epochs.append(f"{f'more than {len(curve)}' if one == inf else f'{one:g}'} and {two:g}")
        return Finding(
            verdict=verdict,
            evidence=f"training accuracy of the first epoch: {against(a, b, difference, noise)}; epochs to "
            f"{100 * NEARLY:g} % of the second's last: {', '.join(epochs) or 'no seed in common'}",
        )

    return Check(sum(pairs, ()), lambda evidence: all_of([of_one(evidence, *pair) for pair in pairs]))


def never_falls(*curves: tuple[Pick, ...]) -> Check:
    """Along each curve, accuracy rises from the first to the last and falls nowhere beyond noise."""

    def of_one(evidence: Evidence, picks: tuple[Pick, ...]) -> Finding:
        found = [(pick, evidence.sample(pick, ACCURACY)) for pick in picks]
        samples = [sample for _, sample in found if sample]
        if len(samples) < len(found):
            return _missing_of(*found)
        falls = any(versus(b, a).verdict == "fails" for a, b in pairwise(samples))
        verdict = "fails" if falls else versus(samples[-1], samples[0]).verdict
        return Finding(verdict=verdict, evidence=", ".join(map(str, samples)))

    return Check(sum(curves, ()), lambda evidence: all_of([of_one(evidence, picks) for picks in curves]))


def falls_with_steps(by_steps: Mapping[int, str]) -> Check:
    """The searched leak is higher, closer to 1, for fewer time steps.

    Of each search, the leaks of its six best trials. What one leak may be off by is the larger of the deviation of its
    search's six and that of all searches pooled, since six may lie together by chance. The search of the fewest steps
    is compared with that of the most, as any two networks are; with three numbers of steps, each twice the one before,
    that is also the slope over their logarithm. Trials of one search are drawn near its earlier good ones, so that its
    six best are less than six opinions: a difference hardly beyond noise says little.
    """

    def check(evidence: Evidence) -> Finding:
        if absent := [fault for name in by_steps.values() if (fault := searches.lacking(name, evidence.searches))]:
            return missing(*absent)
        found = {steps: evidence.searches[name] for steps, name in by_steps.items()}
        if unlike := _unlike(list(found.values()), "num_steps"):
            return unlike
        leaks = {steps: searches.leaks(each) for steps, each in found.items()}
        least = max(searches.pooled(leaks.values()), 0.001)
        samples = {
            steps: Sample(
                label=f"T = {steps}: leak", values=each, deviation=max(stdev(each), least), digits=3, each="trial"
            )
            for steps, each in leaks.items()
        }
        ends = versus(samples[min(samples)], samples[max(samples)])
        between = [str(samples[steps]) for steps in sorted(samples)[1:-1]]
        return Finding(verdict=ends.verdict, evidence="; ".join([ends.evidence, *between]))

    return Check((), check)


def _unlike(found: Sequence[Outcome], field: str) -> Finding | None:
    """That searches cannot be compared, where more than `field` of the network differs."""
    for other in found[1:]:
        if part := searches.first_difference(found[0], other, field):
            return Finding(
                verdict="not tested at this scale", evidence=f"searches differ in {part}, not in {field} alone"
            )
    return None


def _gap(s2s: float, s2m: float) -> str:
    """Held-out accuracies of both, for people."""
    return f"S2S {s2s:.2f} % against S2M {s2m:.2f} %, a gap of {s2s - s2m:.2f}"


def search_closes_gap(by_connection: Mapping[str, str], like: Pick) -> Check:
    """A search gives S2M more than S2S: held-out accuracy of the first trial, the paper's values, and of the six best.

    One run may be off by the larger of the binomial deviation on the held-out images and what seeds of networks on
    CIFAR-10 (`like`) differ by at the scale. The six best are the better for having been chosen, in both searches.
    """

    def check(evidence: Evidence) -> Finding:
        found = _pair(by_connection, evidence)
        if isinstance(found, Finding):
            return found
        first = {name: searches.first_accuracy(each) for name, each in found.items()}
        s2s, s2m = first["s2s"], first["s2m"]
        if s2s is None or s2m is None:
            return missing("the paper's values, to the end, as the first trial of each search")
        best = {name: fmean(searches.accuracies(each)) for name, each in found.items()}
        one_run = _one_run(found["s2s"], s2s, evidence, like)
        error = hypot(one_run, one_run, one_run / sqrt(searches.BEST), one_run / sqrt(searches.BEST))
        closed, noise = (s2s - s2m) - (best["s2s"] - best["s2m"]), STANDARD_ERRORS * error
        return Finding(
            verdict=decided(closed, noise),
            evidence=f"with the paper's values {_gap(s2s, s2m)}; six best trials {_gap(best['s2s'], best['s2m'])}: "
            f"{closed:+.2f} closed, noise {noise:.2f}",
        )

    return Check((), check)


def stays_behind(by_connection: Mapping[str, str], like: Pick) -> Check:
    """Of the six best trials each, those of S2S are more accurate than those of S2M; noise as `search_closes_gap`."""

    def check(evidence: Evidence) -> Finding:
        found = _pair(by_connection, evidence)
        if isinstance(found, Finding):
            return found
        samples = {
            name: Sample(
                label=f"six best trials of {name.upper()}",
                values=searches.accuracies(each),
                deviation=_one_run(each, fmean(searches.accuracies(each)), evidence, like),
                unit=" %",
                each="trial",
            )
            for name, each in found.items()
        }
        return versus(samples["s2s"], samples["s2m"])

    return Check((), check)


def _pair(by_connection: Mapping[str, str], evidence: Evidence) -> dict[str, Outcome] | Finding:
    """Connection -> its search, or why there is nothing to compare."""
    if absent := [fault for name in by_connection.values() if (fault := searches.lacking(name, evidence.searches))]:
        return missing(*absent)
    found = {connection: evidence.searches[name] for connection, name in by_connection.items()}
    return _unlike(list(found.values()), "connection") or found


def _one_run(found: Outcome, percent: float, evidence: Evidence, like: Pick) -> float:
    """Standard deviation of the held-out accuracy of one training run."""
    seeds = evidence.pooled(evidence.cell(like), ACCURACY, found.config.recipe.data.name)
    return max(binomial(percent, searches.held_out(found)), seeds)


def most_accurate(pick: Pick, data: str) -> Check:
    """More accurate than all others of Table 14 on this data; asked of training runs at the paper's scale alone."""

    def check(evidence: Evidence) -> Finding:
        if evidence.scale != "paper":
            return Finding(verdict="not tested at this scale", evidence="asks for networks of the paper's size")
        ours = evidence.sample(pick, ACCURACY)
        if ours is None:
            return _missing_of((pick, ours))
        others = [entry for entry in TABLE_14 if entry.data == data and entry.reference is not None]
        best = max(others, key=lambda entry: entry.accuracy)
        return versus(ours, Sample(label=f"{best.network}, as published,", values=(best.accuracy,), deviation=0.0))

    return Check((pick,), check)


def fewest_parameters(evidence: Evidence) -> Finding:
    """Fewer parameters than every trained network of Figs. 4 to 6 on the same data; counted, nothing is trained."""
    parts, fewer = [], []
    for data in dict.fromkeys(entry.data for entry in TABLE_14):
        entries = [entry for entry in TABLE_14 if entry.data == data]
        (own,) = [entry.parameters or 0 for entry in entries if entry.reference is None]
        least, network = min(
            (entry.topology.parameters, entry.network) for entry in entries if entry.topology and entry.in_figures
        )
        fewer.append(own < least)
        parts.append(f"{data}: {own:,}, the smallest of the others ({network}) {least:,}")
    boosted = parameters(BOOSTED_100.recipe.model)
    narrow = parameters(replace(DVS_64.recipe.model, base_filters=16))  # type: ignore[call-arg]
    parts.append(
        f"the caption of Table 14 names other networks: with boosting on CIFAR-100, {boosted:,}, and with 16 filters "
        f"on DVS-CIFAR10, {narrow:,}"
    )
    return Finding(verdict="holds" if all(fewer) else "fails", evidence="; ".join(parts))
