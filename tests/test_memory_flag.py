"""`--memory-limit` reaches every reader that asks for it, whatever the command."""

import sys
from pathlib import Path

import pytest
import torch

from sresnet.cli import main
from sresnet.limits import check_claim
from sresnet.studies.run import _run_one
from tests.golden.reduce import read
from tests.models.test_golden import SMALL, released_checkpoint
from tests.report.runs import TINY
from tests.studies.test_run import CPU, TUNED, open_digits
from tests.test_overwrite import digit

sys.path.append(str(Path(__file__).parent / "data" / "events"))
import made_up_sets

SMALLEST = "--model.base-filters 2 --model.num-steps 2 --model.depth 8 --train.epochs 1".split()
EVENTS = [*SMALLEST, *"--data.split by-group --data.test-group b --data-dir sessions".split()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run on digits, one on recordings, and what commands read."""
    place = tmp_path_factory.mktemp("runs")
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(place)
        patched.setenv("XDG_CACHE_HOME", str(place / "cache"))
        assert main(["train", "digits", *TINY, "--out", "run"]) == 0
        for seed, name in enumerate(("a/cup", "a/pen", "b/cup", "b/pen")):
            made_up_sets.put(Path(f"sessions/{name}.aedat"), made_up_sets.aedat2(count=500, seed=seed))
        assert main(["train", "event-folder", *EVENTS, "--out", "events"]) == 0
        for kind in ("a", "b"):
            for number in range(3):
                Path(f"pictures/{kind}").mkdir(parents=True, exist_ok=True)
                digit(Path(f"pictures/{kind}/{number}.png"))
        released_checkpoint(read(SMALL / "plain.safetensors.xz"), Path("best.pth.tar"))
    return place


@pytest.fixture
def asked(monkeypatch, folder, tmp_path):
    """The limits that readers ask `check_claim` about, each with the file."""
    seen = []

    def asks(where, what, claimed, length, memory_limit):
        seen.append((where, what, memory_limit))
        check_claim(where, what, claimed, length, memory_limit)

    for name, module in list(sys.modules.items()):
        if name.startswith("sresnet.") and vars(module).get("check_claim") is check_claim:
            monkeypatch.setattr(module, "check_claim", asks)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # no frames are there
    return seen


COMMANDS = {
    "train from a run": ["train", "digits", *TINY, "--pretrained", "run", "--out", "OUT"],
    "train, report": ["train", "digits", *TINY, "--report", "--out", "OUT"],
    "train on pictures": [
        "train",
        "folder",
        *SMALLEST,
        "--data-dir",
        "pictures",
        "--data.validation",
        "0",
        "--out",
        "OUT",
    ],
    "train on recordings": ["train", "event-folder", *EVENTS, "--out", "OUT"],
    "finetune": ["finetune", "run", "--data", "digits", "--train.epochs", "1", "--out", "OUT"],
    "evaluate": ["evaluate", "run"],
    "evaluate recordings": ["evaluate", "events"],
    "analyse": ["analyse", "run", "--images", "5", "--out", "OUT"],
    "report": ["report", "run", "--images", "5", "-o", "OUT"],
    "predict": ["predict", "run", "pictures/a/0.png"],
    "predict recordings": ["predict", "events", "sessions/a/cup.aedat"],
    "info": ["info", "run"],
    "import": ["import", "best.pth.tar", "--leak", "0.874", "--out", "OUT"],
    "data info": ["data", "info", "sessions/a/cup.aedat"],
    "data view": ["data", "view", "sessions/a/cup.aedat", "--out", "OUT.gif"],
    "data prepare": [
        "data",
        "prepare",
        "event-folder",
        "--data-dir",
        "sessions",
        "--data.split",
        "by-group",
        *"--data.test-group b".split(),
    ],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_reader_of_a_command_has_the_limit(asked, tmp_path, name):
    words = [word.replace("OUT", str(tmp_path / "out")) for word in COMMANDS[name]]
    assert main([*words, "--memory-limit", "7.5"]) == 0
    assert asked
    assert [each for each in asked if each[2] != 7.5] == []


def test_studies(asked, tmp_path, monkeypatch):
    """What a study starts from is read with the limit too, and so is what came out."""
    _run_one(TUNED.start, tmp_path, open_digits, device=CPU, memory_limit=7.5)
    _run_one(TUNED, tmp_path, open_digits, device=CPU, memory_limit=7.5)
    assert len({where for where, _, _ in asked}) == 2
    assert {limit for _, _, limit in asked} == {7.5}
    given = {}
    monkeypatch.setattr("sresnet.cli.study.work", lambda *_, **options: given.update(options))
    monkeypatch.chdir(tmp_path)
    assert main(["study", "table12", "--memory-limit", "7.5"]) == 0
    assert given["memory_limit"] == 7.5


def test_a_source_that_claims_more(folder, tmp_path, monkeypatch, capsys):
    """Fine-tuning starts from what claims more than the limit where it is raised, and says so where it is not."""
    monkeypatch.chdir(folder)
    words = ["train", "digits", *TINY, "--pretrained", "run", "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sresnet.limits.TIMES", 1e-6)
    assert main([*words, "--memory-limit", "1e-6"]) == 2
    assert "run/weights.safetensors claims 0.0 GB of memory for a network" in capsys.readouterr().err
    assert main([*words, "--memory-limit", "1e-3"]) == 0
