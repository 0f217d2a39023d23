"""Work on the nodes of a Ray cluster: folders, mistakes, and two nodes on this machine, one of which is killed."""

import contextlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from sresnet.cli import main
from sresnet.errors import UserError
from sresnet.search.outcome import outcome_of
from sresnet.studies.cluster import ClusterConfig, _enter, _marked
from sresnet.studies.results import read
from sresnet.train import record

HEAD = "127.0.0.1:6379"
SEARCH = [
    *"search digits --search.leak 0.5:0.99 --sampler random --reduction 0 --trials 4 --data.validation 0.3".split(),
    *"--model.base-filters 2 --model.num-steps 2 --train.epochs 8 --train.batch-size 32".split(),
]


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


# Without a cluster ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--ray", "auto", "--workers", "2"], "--workers is of this machine and --ray of a cluster"),
        (["--ray", "auto", "--device", "cpu"], "leave --device cpu out"),
        (["--cpus", "2"], "--cpus is of tasks on a cluster: add --ray auto"),
        (["--gpus", "0.5"], "--gpus is of tasks on a cluster: add --ray auto"),
        (["--ray", HEAD, "--cpus", "0"], "cpus 0 is less than 1"),
        (["--ray", HEAD, "--gpus", "1.5"], "gpus 1.5 is no number of GPUs"),
        (["--ray", HEAD, "--gpus", "-1"], "gpus -1 is no number of GPUs"),
    ],
)
@pytest.mark.parametrize(
    "verb", [["study", "table5"], ["search", "digits", "--out", "search"]], ids=["study", "search"]
)
def test_mistakes(verb, words, complaint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*verb, *words]) == 2
    said = capsys.readouterr()
    assert complaint in said.err
    assert said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "verb", [["study", "table5", "--runs"], ["study", "table5", "--results"], ["search", "digits", "--out"]]
)
@pytest.mark.parametrize("places", [["--ray", "auto"], []])
def test_an_address_in_place_of_a_folder(verb, places, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*verb, "s3://bucket/runs", *places]) == 2
    assert "s3:/bucket/runs is an address" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray")
@pytest.mark.parametrize("verb", [["study", "table5"], ["search", "digits", "--out", "search"]])
def test_nothing_is_begun_for_a_cluster_that_is_not_there(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "ray"))
    assert main([*verb, "--ray", "auto"]) == 2
    assert "--ray auto finds no cluster on this machine: start one with ray start --head" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir() if each.name != "ray"] == []


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["study", "table5", "--ray", "auto"]) == 2
    assert capsys.readouterr().err == (
        "sresnet: --ray needs ray, which is not installed: run pip install 'sresnet[ray]'\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("127.0.0.1:{port}", r"no Ray cluster at 127.0.0.1:\d+ \(Connection refused\): start one with ray start"),
        ("nowhere.invalid:6379", "no Ray cluster at nowhere.invalid:6379"),
        ("ray://127.0.0.1:10001", "ray 'ray://127.0.0.1:10001' is no address: give auto, or HOST:PORT"),
        ("127.0.0.1", "is no address"),
        (":6379", "is no address"),
        ("127.0.0.1:99999", "is no address"),
    ],
)
def test_an_address_where_no_cluster_is(address, complaint, tmp_path, monkeypatch, capsys):
    """It is said at once: Ray itself would try for minutes."""
    ray = pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.setattr(ray, "init", None)  # is not reached
    monkeypatch.chdir(tmp_path)
    assert main(["study", "table5", "--ray", address.format(port=free_port())]) == 2
    error = capsys.readouterr().err
    assert re.search(complaint, error)
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_auto_takes_the_address_from_the_environment(tmp_path, monkeypatch, capsys):
    pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")
    monkeypatch.chdir(tmp_path)
    assert main(["study", "table5", "--ray", "auto"]) == 2
    assert os.environ["RAY_ADDRESS"] in capsys.readouterr().err


def test_a_node_knows_the_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    config = ClusterConfig(address="auto", shared=(Path("runs"),), seen=(Path("data"),))
    with _marked(Path("runs")):
        monkeypatch.chdir("/")
        _enter(str(tmp_path), config)
        assert Path.cwd() == tmp_path
        with pytest.raises(UserError, match="folder /nowhere, in which the command was given, does not exist here"):
            _enter("/nowhere", config)
        with pytest.raises(UserError, match="folder pictures does not exist here"):
            _enter(str(tmp_path), replace(config, seen=(Path("pictures"),)))
        with pytest.raises(UserError, match="folder data is not the one that the command writes to"):
            _enter(str(tmp_path), replace(config, shared=(Path("data"),)))
        with pytest.raises(UserError, match="runs is used by another command with --ray"), _marked(Path("runs")):
            pass
    assert list((tmp_path / "runs").iterdir()) == []
    (tmp_path / "runs" / ".ray").mkdir()  # which nobody has locked
    with pytest.raises(UserError, match="locks in runs do not hold between nodes"):
        _enter(str(tmp_path), config)


# On two nodes ---------------------------------------------------------------------------------------------------------


def descendants(process):
    """Identities of the processes that a process has started, directly or not."""
    children = Path(f"/proc/{process}/task").glob("*/children")
    found = [int(word) for path in children for word in path.read_text().split()]
    return [each for child in found for each in (child, *descendants(child))]


class Nodes:
    """Ray nodes of one CPU on this machine, each a process with all that it starts."""

    def __init__(self):
        self.address, self.place = f"127.0.0.1:{free_port()}", tempfile.TemporaryDirectory(prefix="ray", dir="/tmp")
        settings = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "2", "RAY_USAGE_STATS_ENABLED": "0"}
        self.pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "env": os.environ | settings}
        port, place = self.address.rpartition(":")[2], self.place.name
        self.running = [self.start("--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={place}")]

    def start(self, *words):
        command = [Path(sys.executable).parent / "ray", "start", *words, "--num-cpus=1", "--block"]
        node = subprocess.Popen(command, text=True, **self.pipes)
        said = []
        for line in node.stdout:
            said.append(line)
            if "runtime started" in line:
                return node
        pytest.fail("".join(said))

    def add(self):
        self.running.append(self.start(f"--address={self.address}"))

    def kill(self):
        """The last node and all its processes, at once, with no word to anybody."""
        node = self.running.pop()
        for process in [*descendants(node.pid), node.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        node.stdout.close()
        node.wait()

    def end(self):
        while self.running:
            self.kill()
        self.place.cleanup()

    def sresnet(self, words, folder):
        """A command on them."""
        command = [sys.executable, "-m", "sresnet", *words, "--ray", self.address]
        return subprocess.Popen(command, cwd=folder, text=True, **self.pipes)


@pytest.fixture(scope="module")
def nodes():
    pytest.importorskip("ray", reason="ray is not installed")
    found = Nodes()
    try:
        found.add()
        yield found
    finally:
        found.end()


def lines_until(process, *wanted):
    """The lines that a process has said when each of `wanted` was in one."""
    said, left = [], set(wanted)
    for line in process.stdout:
        said.append(line)
        left -= {each for each in left if each in line}
        if not left:
            return said
    pytest.fail("".join(said))


def plain(found):
    """The trials of a search but for how long they took."""
    return [replace(each, seconds=0.0) for each in found.trials]


def without_times(result):
    """A result of a study but for how long it took."""
    times = {"seconds", "images_per_second"}
    return replace(result, metrics=[{k: v for k, v in line.items() if k not in times} for line in result.metrics])


@pytest.mark.slow
def test_a_search_of_which_a_node_is_lost_gives_what_it_gives_alone(nodes, tmp_path, monkeypatch):
    with nodes.sresnet([*SEARCH, "--out", "search"], tmp_path) as process:
        said = lines_until(process, "trial 0: epoch 2/8", "trial 1: epoch 2/8")
        nodes.kill()
        said += process.stdout.readlines()
    text = "".join(said)
    nodes.add()
    assert process.returncode == 0, text
    assert text.count(": finished: accuracy") == 4
    assert not re.search(r"raylet|Traceback|WARNING|\x1b", text)
    monkeypatch.chdir(tmp_path)
    assert main([*SEARCH, "--out", "alone"]) == 0
    assert plain(outcome_of(tmp_path / "search")) == plain(outcome_of(tmp_path / "alone"))
    for number in range(4):
        here, alone = (tmp_path / name / "trials" / str(number) for name in ("search", "alone"))
        assert [line["epoch"] for line in record.read_metrics(here)] == list(range(1, 9))
        assert record.read_environment(here)["threads"] == 1
        assert (here / "weights.safetensors").read_bytes() == (alone / "weights.safetensors").read_bytes()


@pytest.mark.slow
def test_a_study_of_which_a_node_is_lost_gives_what_it_gives_alone(nodes, tmp_path, monkeypatch):
    """Two of its four runs start from others."""
    with nodes.sresnet(["study", "table12"], tmp_path) as process:
        said = lines_until(process, "S-ResNet38, no pre-training", "wider + boosting, no pre-training")
        nodes.kill()
        said += process.stdout.readlines()
    text = "".join(said)
    nodes.add()
    assert process.returncode == 0, text
    assert text.count("finished: ") == 4
    assert not re.search(r"raylet|Traceback|WARNING|\x1b", text)
    monkeypatch.chdir(tmp_path)
    assert main(["study", "table12", "--runs", "alone", "--results", "kept"]) == 0
    found, alone = read(tmp_path / "results/studies/tiny"), read(tmp_path / "kept")
    assert found.keys() == alone.keys()
    for key, result in found.items():
        assert result.environment["threads"] == 1
        assert without_times(result) == without_times(alone[key])


@pytest.mark.slow
def test_stopped_by_ctrl_c_it_goes_on(nodes, tmp_path):
    with nodes.sresnet([*SEARCH, "--out", "search"], tmp_path) as process:
        said = lines_until(process, "epoch 2/8")
        process.send_signal(signal.SIGINT)
        said += process.stdout.readlines()
    assert process.returncode == 130
    assert "stopped: the same command goes on" in "".join(said)
    assert said[-1] == "stopped (SIGINT): run the same command again to go on\n"
    before = {each.number: len(each.accuracies) for each in outcome_of(tmp_path / "search").trials}
    assert 0 < len(before) < 4
    with nodes.sresnet([*SEARCH, "--out", "search"], tmp_path) as process:
        text = process.stdout.read()
    assert process.returncode == 0
    found = outcome_of(tmp_path / "search")
    assert [each.state for each in found.trials] == ["finished"] * 4
    for number, epochs in before.items():
        assert f"trial {number}: epoch {epochs}/8" not in text  # is not trained again


EXPERIMENT = """
import sys
sys.path.append({folder!r})
from dataclasses import replace
from experiment import carry_out, flags, images_in, study
from sresnet.train.recipes import RECIPES
digits = RECIPES["digits"][1]
recipe = replace(digits, train=replace(digits.train, epochs=1), model=replace(digits.model, base_filters=2))
print(carry_out([study("try", {{"row": recipe}}, 2)], images_in(""), flags("", "runs").parse_args()))
"""


@pytest.mark.slow
def test_an_experiment(nodes, tmp_path):
    (tmp_path / "try.py").write_text(EXPERIMENT.format(folder=str(Path(__file__).parents[2] / "experiments")))
    command = [sys.executable, "try.py", "--ray", nodes.address]
    done = subprocess.run(command, cwd=tmp_path, text=True, **nodes.pipes)
    assert done.stdout.splitlines()[-1] == "True"
    assert done.stdout.count("finished: ") == 2
    assert (tmp_path / "runs" / "row" / "1" / "weights.safetensors").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--cpus", "2"], "a task takes 2 CPUs and 0 GPUs, and nodes have 1 and 0 at most"),
        (["--gpus", "0.5"], "a task takes 1 CPUs and 0.5 GPUs, and nodes have 1 and 0 at most"),
    ],
)
def test_a_task_that_no_node_can_take(nodes, words, complaint, tmp_path):
    with nodes.sresnet(["study", "table5", *words], tmp_path) as process:
        text = process.stdout.read()
    assert process.returncode == 2
    assert complaint in text
    assert text.count("\n") == 2  # with what is left to train
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_address_of_something_else(tmp_path, monkeypatch):
    """Something listens there that is not Ray."""
    pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        command = [sys.executable, "-m", "sresnet", "study", "table5", "--ray", address]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"Ray at {address} cannot be used" in done.stderr
    assert done.stderr.count("\n") == 1
