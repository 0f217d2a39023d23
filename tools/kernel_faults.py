"""Faults in the kernels for GPUs: do the tests in Triton's interpreter notice them.

    make kernel-faults
    python tools/kernel_faults.py [--count 60] [--seed 0] [--workers 2]

in an environment with triton, such as .venv-triton. Two lists: the faults that `tests/ops/gpu/test_check.py` plants in
the text of the kernels, each of which the comparison has to notice that users run before a layer's first step; and
`--count` mutants, small changes that `tools/mutants.py` finds in the kernels and in what launches them, each of which
a test has to notice. Writes results/kernel-faults.json and a page beside it. What people judged of survivors is in
results/mutants-judged.toml, as for all other mutants. Exit status 1 where a survivor is not judged, or a planted fault
goes unnoticed. `--page` writes the page anew and runs nothing.

Each mutant is a copy of the tracked files in build/kernel-faults and a process of pytest that ends with the first
failure. One that takes too long, as where a loop has no end, counts as noticed.
"""

import argparse
import concurrent.futures
import importlib.metadata
import json
import os
import platform
import queue
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from mutants import JUDGED, ROOT, VERDICTS, Finder, Mutant, apply, chosen, machine, make_tree, revision, shown

WORK = ROOT / "build" / "kernel-faults"
RESULT, PAGE = (ROOT / "results" / name for name in ("kernel-faults.json", "kernel-faults.md"))
FILES = tuple(f"src/sresnet/ops/scan/gpu/{name}.py" for name in ("kernels", "launch"))
COMPARISON = "tests/ops/gpu/test_check.py::test_the_kernels_pass"
TESTS = (COMPARISON, "tests/ops/gpu/test_kernels.py", "tests/ops/gpu/test_layer.py")
"""The comparison first, then what else may notice."""
PLANTED = "tests/ops/gpu/test_check.py::test_a_planted_fault_is_noticed"
SECONDS = 400
"""Of one mutant's tests; without a fault they take about 100."""


def asked(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What pytest says in a tree, in Triton's interpreter."""
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
    environment["XDG_CACHE_HOME"] = str(tree / ".cache")
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist", *words]
    return subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, encoding="utf-8", timeout=SECONDS, check=False
    )


def planted(tree: Path) -> dict[str, bool]:
    """The faults of the tests by name, and whether each is noticed."""
    said = asked(tree, "-rA", PLANTED).stdout
    found = re.findall(rf"^(PASSED|FAILED) {re.escape(PLANTED)}\[(.+?)\](?: - .*)?$", said, re.MULTILINE)
    return {name: outcome == "PASSED" for outcome, name in found}


def tried(tree: Path, mutant: Mutant) -> dict[str, str]:
    """What notices a mutant."""
    path = tree / mutant.file
    source = path.read_bytes()
    path.write_bytes(apply(source, mutant))
    try:
        done = asked(tree, "-x", *TESTS)
    except subprocess.TimeoutExpired:
        return {"outcome": "killed", "by": "limit of time"}
    finally:
        path.write_bytes(source)
    if done.returncode == 0:
        return {"outcome": "survived", "by": ""}
    failed = re.search(r"^(?:FAILED|ERROR) (\S+(?:\[.*?\])?)", done.stdout, re.MULTILINE)
    return {"outcome": "killed", "by": failed[1] if failed else "no test can be collected"}


def page(record: dict[str, Any], judged: dict[str, Any]) -> str:
    """results/kernel-faults.md."""
    about, rows = record["environment"], record["mutants"]
    killed = [row for row in rows if row["outcome"] == "killed"]
    compared = [row for row in killed if row["by"].startswith(COMPARISON)]
    lines = [
        "# Faults in the kernels for GPUs",
        "",
        f"Made by `{record['command']}` from `kernel-faults.json` and `mutants-judged.toml`; see "
        "`tools/kernel_faults.py`.",
        f"Revision {about['revision']}, Python {about['python']}, torch {about['torch']}, triton {about['triton']}, "
        f"interpreted; {about['machine']}.",
        "",
        "## Planted",
        "",
        f"{sum(record['planted'].values())} of {len(record['planted'])} are noticed by the comparison that runs before "
        "a layer's first step.",
        "",
        *(f"- {name}{'' if noticed else ': **not noticed**'}" for name, noticed in record["planted"].items()),
        "",
        "## Mutants",
        "",
        f"Of {record['of']:,} small changes of {' and '.join(FILES)}, {len(rows)} were tried (seed {record['seed']}): "
        f"{len(compared)} are noticed by that comparison, {len(killed) - len(compared)} by other tests, "
        f"{len(rows) - len(killed)} by none.",
        "",
        "| file, line, function | change | noticed by |",
        "| --- | --- | --- |",
    ]
    for row in rows:
        change = f"`{row['before'].strip()}` -> `{row['after'].strip()}`".replace("\n", " ").replace("|", "\\|")
        verdict = judged.get(row["id"], {"verdict": "not judged", "why": ""})
        by = row["by"].removeprefix("tests/ops/gpu/") or f"nothing: **{verdict['verdict']}**. {verdict['why']}"
        lines.append(f"| {Path(row['file']).name}:{row['line']} {row['function']} | {change} | {by} |")
    return "\n".join(lines) + "\n"


def unnoticed(record: dict[str, Any], judged: dict[str, Any]) -> list[str]:
    """Planted faults that go unnoticed, and ids of mutants that nothing noticed and nobody judged."""
    rows = (row["id"] for row in record["mutants"] if row["outcome"] != "killed")
    holes = [id for id in rows if judged.get(id, {}).get("verdict") not in VERDICTS]
    return holes + [name for name, noticed in record["planted"].items() if not noticed]


def main() -> int:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60, help="mutants")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--page", action="store_true", help="write the page anew and run nothing")
    options = parser.parse_args()
    judged = tomllib.loads(JUDGED.read_text(encoding="utf-8"))
    if options.page:
        record = json.loads(RESULT.read_text(encoding="utf-8"))
        PAGE.write_text(page(record, judged), encoding="utf-8")
        return bool(unnoticed(record, judged))
    source = revision()
    WORK.mkdir(parents=True, exist_ok=True)
    trees: queue.Queue[Path] = queue.Queue()
    for number in range(options.workers):
        make_tree(WORK / f"tree{number}")
        trees.put(WORK / f"tree{number}")
    everything = [each for file in FILES for each in Finder(file, (ROOT / file).read_bytes()).found]
    mutants = chosen(everything, options.count, options.seed)

    def one(mutant: Mutant) -> dict[str, Any]:
        tree = trees.get()
        try:
            found = tried(tree, mutant)
        finally:
            trees.put(tree)
        print(f"{found['outcome']} {mutant.id} {mutant.file}:{mutant.line} {mutant.kind} {found['by']}", flush=True)
        return {"id": mutant.id} | shown(mutant) | found

    known = planted(WORK / "tree0")
    print(f"planted: {sum(known.values())} of {len(known)} noticed", flush=True)
    with concurrent.futures.ThreadPoolExecutor(options.workers) as pool:
        rows = list(pool.map(one, mutants))
    record = {
        "command": f"python tools/kernel_faults.py --count {options.count} --seed {options.seed}",
        "seed": options.seed,
        "environment": {
            "revision": source,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("torch", "triton", "numpy", "pytest")},
            "machine": machine(),
        },
        "planted": known,
        "of": len(everything),
        "mutants": rows,
    }
    RESULT.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(record, judged), encoding="utf-8")
    return bool(unnoticed(record, judged))


if __name__ == "__main__":
    sys.exit(main())
