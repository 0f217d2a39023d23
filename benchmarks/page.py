"""The numbers of a machine as a page and as tables on the terminal."""

from typing import Any

from division import division_table
from rich.console import Console
from rich.table import Table


def curve_table(curve: dict[str, dict[str, Any]]) -> list[str]:
    """Peak and time over T."""
    if not curve:
        return []
    lines = [
        "S-ResNet8, 16 filters, batch 32, bf16, training step over T: peak in MB, seconds (segments):",
        "",
    ]
    lines += [f"| T | {' | '.join(curve)} |", "| --- |" + " --- |" * len(curve)]
    for T in next(iter(curve.values())):
        cells = []
        for row in curve.values():
            each = row[T]
            segments = f" ({' '.join(map(str, each['segments']))})" if each.get("segments") else ""
            cells.append(each.get("left out") or f"{each['bytes'] / 1e6:.0f}, {each['seconds']:.2f}{segments}")
        lines.append(f"| {T} | {' | '.join(cells)} |")
    return lines


def markdown(found: dict[str, Any]) -> str:
    """The numbers as a page."""
    about = found["machine"]
    parts = found["revisions"] or {"revision": about["revision"]}
    revisions = ", ".join(f"{part} {revision[:7]}" for part, revision in parts.items())
    lines = [
        f"# {about['processor']}, {about['instructions']}",
        "",
        f"torch {about['torch']}, {about['threads']} threads, {about['date']}, {revisions}. Made "
        "by `make bench-peers`; settings are in `benchmarks/bench.py`. Seconds are medians; ratios are those to the "
        "convolutions alone (floor) in the same round, with the middle half of the rounds.",
        "",
        "| setting | contender | s / step | over floor | middle half | images/s | rounds (disturbed) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for key, entry in found["times"].items():
        for name, row in entry["contenders"].items():
            seconds, ratio = row["seconds"]["median"], row["over floor"]
            half = f"{ratio['low']:.2f} to {ratio['high']:.2f}"
            rounds = f"{entry['rounds']} ({entry['disturbed']})"
            speed = f"{row['images/s']['median']:,.0f}"
            lines.append(f"| {key} | {name} | {seconds:.3f} | {ratio['median']:.2f} | {half} | {speed} | {rounds} |")
    lines += [
        "",
        "Ours is `fastest`. Time over ours in the same round: the best of all peers and settings, then as shipped.",
        "",
    ]
    lines += ["| setting | best of all peers | which | middle half | as shipped |", "| --- | --- | --- | --- | --- |"]
    for key, entry in found["times"].items():
        if best := entry.get("best of all peers over ours"):
            shipped = entry["as shipped over ours"]
            theirs = ", ".join(f"{library} {ratio['median']:.2f}" for library, ratio in shipped.items())
            half = f"{best['low']:.2f} to {best['high']:.2f}"
            lines.append(f"| {key} | {best['median']:.2f} | {best['which']} | {half} | {theirs} |")
    reasons = [
        f"- {key}, {name}: {why}"
        for key, entry in found["times"].items()
        for name, why in entry.get("left out", {}).items()
    ]
    lines += ["", *(["Left out:", "", *reasons, ""] if reasons else [])]
    lines += ["Memory at the height of a training step, above the model, in bytes per neuron and time step:", ""]
    names = list(dict.fromkeys(name for row in found["memory"].values() for name in row))
    lines += [f"| setting | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
    for key, row in found["memory"].items():
        cells = [f"{row[name]:.2f}" if row.get(name) else "" for name in names]
        lines.append(f"| {key} | {' | '.join(cells)} |")
    lines += ["", "The same of an inference, in MB:", ""]
    names = list(dict.fromkeys(name for row in found["inference memory"].values() for name in row))
    lines += [f"| setting | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
    for key, row in found["inference memory"].items():
        lines.append(f"| {key} | {' | '.join(f'{row[name] / 1e6:.0f}' if row.get(name) else '' for name in names)} |")
    lines += ["", *curve_table(found["curve"])]
    lines += ["", *division_table(found["divisions"])]
    for what, words in (("T", "over T, S-ResNet8, batch 16"), ("depth", "over depth, T = 4, batch 16")):
        row = found["growth"].get(what, {})
        lines += ["", f"Least seconds of a training step {words}, fastest, fp32:", ""]
        lines += ["| " + " | ".join(row) + " |", "|" + " --- |" * len(row)]
        lines += ["| " + " | ".join(f"{value:.3f}" for value in row.values()) + " |"]
    return "\n".join(lines) + "\n"


def print_tables(found: dict[str, Any]) -> None:
    """The numbers for people."""
    console = Console(width=None if Console().is_terminal else 120)
    for key, entry in found["times"].items():
        table = Table("contender", "s / step", "over floor", "middle half", "images/s", title=key, box=None)
        for name, row in entry["contenders"].items():
            ratio = row["over floor"]
            table.add_row(
                name,
                f"{row['seconds']['median']:.3f}",
                f"{ratio['median']:.2f}",
                f"{ratio['low']:.2f} to {ratio['high']:.2f}",
                f"{row['images/s']['median']:,.0f}",
            )
        console.print(table, f"{entry['rounds']} rounds, {entry['disturbed']} disturbed\n")
    table = Table(
        "setting", *next(iter(found["memory"].values()), {}), title="bytes per neuron and time step", box=None
    )
    for key, row in found["memory"].items():
        table.add_row(key, *(f"{value:.2f}" if value else "" for value in row.values()))
    console.print(table)
    console.print("seconds over T:", found["growth"].get("T"), "\nseconds over depth:", found["growth"].get("depth"))
