"""The batch scripts of docs/clusters.md, run by a stand-in for Slurm: two tasks or nodes, both of them here."""

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sresnet.search.outcome import outcome_of
from sresnet.studies.results import read

PAGE = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text()
SCRIPTS = {re.search("--job-name=(.*)", text)[1]: text for text in re.findall("```bash\n(.*?)```", PAGE, re.DOTALL)}
SRUN = """#!/bin/bash
# Starts a command as often as there are tasks.
tasks=$SLURM_NTASKS
while [[ $1 == --* ]]; do
    case $1 in
        --ntasks=*) tasks=${1#*=} ;;
        --nodes=* | --nodelist=?* | --exclude=?* | --cpus-per-task=*) ;;
        *) echo "srun: unrecognized option '$1'" >&2; exit 1 ;;
    esac
    shift
done
for ((task = 0; task < tasks; task++)); do SLURM_PROCID=$task "$@" & done
wait
"""
SRESNET = """#!/bin/bash
# The same command, made small.
exec {python} -m sresnet "$@" {small}
"""
OPTIONS = {"job-name", "nodes", "ntasks", "ntasks-per-node", "cpus-per-task", "time", "no-kill"}


def of_job(job):
    """The processes that a job has started and that are still there."""
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdecimal() and f"SLURM_JOB_ID={job}".encode() in (process / "environ").read_bytes():
                yield int(process.name)


def sbatch(name, folder, small):
    """Run a script as Slurm would, with one CPU for each task or node; its exit status and output."""
    given = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", SCRIPTS[name], re.MULTILINE))
    assert set(given) <= OPTIONS
    (folder / "bin").mkdir(exist_ok=True)
    for program, text in {"srun": SRUN, "sresnet": SRESNET.format(python=sys.executable, small=small)}.items():
        (folder / "bin" / program).write_text(text)
        (folder / "bin" / program).chmod(0o755)
    script = folder / f"{name}.sbatch"
    script.write_text(SCRIPTS[name])
    job = str(secrets.randbelow(10**9))
    with (
        tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as place,
        open(folder / f"{job}.out", "w+", encoding="utf-8") as output,
    ):
        environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(folder),
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
            "RAY_TMPDIR": place,
            "SLURM_JOB_ID": job,
            "SLURM_NTASKS": "2",
            "SLURM_NNODES": "2",
            "SLURM_CPUS_PER_TASK": "1",
        }
        try:
            done = subprocess.run(["bash", script], cwd=folder, env=environment, stdout=output, stderr=output)
        finally:
            for process in of_job(job):  # as Slurm does at the end of a job
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        output.seek(0)
        return done.returncode, output.read()


def test_there_are_two_scripts():
    assert set(SCRIPTS) == {"search", "study"}


@pytest.mark.slow
def test_tasks_share_a_search(tmp_path):
    """Both begin at once, in a folder that is not there; a second job goes on where the first ended."""
    small = "--model.base-filters 2 --model.num-steps 2 --train.epochs 2 --sampler random --reduction 0 --trials"
    for trials in (3, 5):
        status, text = sbatch("search", tmp_path, f"{small} {trials}")
        assert status == 0, text
        assert not re.search("^sresnet: (?!compiling)", text, re.MULTILINE)
        found = outcome_of(tmp_path / "search-digits")
        assert [each.state for each in found.trials] == ["finished"] * trials
        assert len(re.findall(r"trial \d+: finished", text)) == (3 if trials == 3 else 2)


@pytest.mark.slow
def test_a_study_on_a_cluster_of_the_job(tmp_path):
    pytest.importorskip("ray", reason="ray is not installed")
    status, text = sbatch("study", tmp_path, "--scale tiny --data-dir= --cpus 1")
    assert status == 0, text
    assert text.count(": finished: ") == 4
    assert len(read(tmp_path / "results/studies/tiny")) == 4
    assert "table2: " in text
    assert (tmp_path / ".ray" / "auth_token").exists()
