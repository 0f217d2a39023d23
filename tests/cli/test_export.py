"""`sresnet export`, and `info` and `evaluate` of what it wrote."""

import importlib.util
import json
import re
import subprocess
import sys

import pytest
import torch

import sresnet
from sresnet.cli import main
from sresnet.export.target import open_file

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        (["--to", "onnx"], "digits-t4.onnx"),
        (["--to", "onnx", "--streaming"], "digits-t4-streaming.onnx"),
        (["--to", "onnx", "--num-steps", "2"], "digits-t4.onnx"),
        (["--to", "torch-export", "--num-steps", "2"], "digits-t4.pt2"),
        (["--to", "c"], "digits-t4.c"),
        (["--to", "onnx", "--write-out", "binary", "--streaming"], "digits-t4-streaming.onnx"),
        (["--to", "c", "--write-out", "binary"], "digits-t4.c"),
    ],
)
def test_a_file_runs_says_what_it_is_and_is_evaluated(flags, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "digits-t4", *flags, "--images", "40"]) == 0
    out = capsys.readouterr().out
    before, after = re.search(
        r"^test accuracy: (\S+) % before, (\S+) % after export in .*, on 40 images$", out, re.M
    ).groups()
    assert before == after
    same = re.search(r"^scores after every step are equal on (\d+) of \1 images", out, re.M)[1]
    near = re.search(r"^and on \d+ of (\d+) with a potential within 2e-05 of a threshold", out, re.M)[1]
    assert int(same) + int(near) == 40
    assert int(near) >= 1
    assert (tmp_path / name).exists()
    assert main(["info", name]) == 0
    out = capsys.readouterr().out
    assert "sresnet8, 16 filters, T = 4" in out
    assert "channels: grey" in out
    assert "10 classes: 0, 1, 2" in out
    assert f"test accuracy on 40 of digits: {before} % before, {after} % after export" in out
    assert main(["evaluate", name, "--images", "40"]) == 0
    assert f"test accuracy: {after} %" in capsys.readouterr().out


@pytest.mark.parametrize("target", ["onnx", "torch-export", "c"])
def test_names_in_capitals(target, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = {"onnx": "DIGITS.ONNX", "torch-export": "DIGITS.PT2", "c": "DIGITS.C"}[target]
    words = ["export", "digits-t4", "--to", target, "--num-steps", "1", "--images", "20", "--out", name]
    assert main(words) == 0
    after = re.search(r"(\S+) % after export", capsys.readouterr().out)[1]
    assert main(["info", name]) == 0
    assert "sresnet8, 16 filters, T = 4" in capsys.readouterr().out
    assert main(["evaluate", name, "--images", "20"]) == 0
    assert f"test accuracy: {after} %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "name", "takes"),
    [
        (["--streaming"], "digits-t4-streaming.onnx", "takes one time step [N, 1x8x8] with potentials, of 4"),
        (["--to", "c"], "digits-t4.c", "takes one time step [1x8x8] at a time, of 4"),
    ],
)
def test_what_a_file_of_one_time_step_takes(flags, name, takes, tmp_path, monkeypatch, capsys):
    """Potentials are in the state of a file in C, and go in and out of one in ONNX."""
    monkeypatch.chdir(tmp_path)
    assert main(["export", "digits-t4", *flags, "--images", "2"]) == 0
    assert takes in capsys.readouterr().out.splitlines()[1]
    assert main(["info", name]) == 0
    assert takes in capsys.readouterr().out.splitlines()


def test_a_file_in_c_that_promises_more_steps_than_it_has(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "digits-t4", "--to", "c", "--images", "2"]) == 0
    text = (tmp_path / "digits-t4.c").read_text()
    (tmp_path / "digits-t4.c").write_text(text.replace('"sresnet.num_steps": "4"', '"sresnet.num_steps": "5"', 1))
    capsys.readouterr()
    assert main(["evaluate", "digits-t4.c"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "digits-t4.c says that it runs 5 time steps, and has numbers for 4" in line
    assert "export it again" in line


def test_the_file_of_torch_export_loads_without_this_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "digits-t4", "--to", "torch-export", "--num-steps", "1", "--images", "4"]) == 0
    code = (
        "import sys; sys.modules['sresnet'] = None\n"
        "import torch\n"
        "scores = torch.export.load('digits-t4.pt2').module()(torch.zeros(5, 1, 8, 8))\n"
        "print(*scores[0, 0].tolist())"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    model = sresnet.create_model("sresnet8", pretrained="digits-t4").eval()
    with torch.no_grad():
        expected = model(torch.zeros(5, 1, 8, 8), num_steps=1)[0]
    found = torch.tensor([float(word) for word in done.stdout.split()])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_network_of_event_frames(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = "--model.base-filters 2 --train.epochs 1 --data.train-images 40 --data.test-images 20 --out run".split()
    assert main(["train", "digits-dvs", *flags, "--cache-dir", "cache"]) == 0
    assert main(["export", "run"]) == 0
    assert "takes frames [N, 5x2x" in capsys.readouterr().out
    assert main(["evaluate", "run.onnx", "--cache-dir", "cache"]) == 0
    after = re.search(r"test accuracy on simulated recordings: (\S+) %", capsys.readouterr().out)[1]
    assert main(["evaluate", "run"]) == 0
    assert f"test accuracy on simulated recordings: {after} %" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--to", "onnx"], ["--to", "onnx", "--streaming"], ["--to", "c"]])
def test_event_frames_whose_changes_are_encoded(flags, tmp_path, monkeypatch, capsys):
    """A file takes what the encoder leaves; so does a file of one time step, and evaluation encodes."""
    monkeypatch.chdir(tmp_path)
    train = "--model.base-filters 2 --model.encoder delta --train.epochs 1 --data.train-images 40 --out run".split()
    assert main(["train", "digits-dvs", *train, "--data.test-images", "20", "--cache-dir", "cache"]) == 0
    assert main(["export", "run", *flags, "--cache-dir", "cache"]) == 0
    (path,) = (path for path in tmp_path.iterdir() if path.suffix in (".onnx", ".c"))
    seen = []
    monkeypatch.setattr("sresnet.cli.exported.open_file", lambda path: watched(open_file(path), seen))
    assert main(["evaluate", path.name, "--cache-dir", "cache"]) == 0
    assert set(torch.cat(seen).unique().tolist()) == {-1, 0, 1}


def watched(opened, seen):
    """An open file that notes what it is given."""
    about, runs = opened
    return about, lambda x: [seen.append(x), runs(x)][1]


def test_spikes_that_are_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = (
        "--model.base-filters 2 --model.num-steps 3 --model.encoder poisson-signed --train.epochs 1 --out run".split()
    )
    assert main(["train", "digits", *flags]) == 0
    for more in ([], ["--streaming"], ["--to", "c"]):
        assert main(["export", "run", "--images", "30", *more]) == 0
        out = capsys.readouterr().out
        accuracies = re.search(r"test accuracy: (\S+) % before, (\S+) % after", out).groups()
        assert accuracies[0] == accuracies[1]
    assert main(["info", "run.onnx"]) == 0
    assert "encoder: poisson-signed, which is not part of the file" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "run 'nothing' does not exist"),
        (["digits-t4", "--to", "onix"], "onix"),
        (["digits-t4", "--to", "torch-export", "--streaming"], "streaming is of ONNX files"),
        (["digits-t4", "--out", "digits.pt2"], "--out digits.pt2 does not end in .onnx"),
        (["digits-t4", "--out", "there.onnx"], "there.onnx exists: choose another --out, or replace it with --force"),
        (["digits-t4", "--num-steps", "5"], "num_steps 5 is outside 1 to 4"),
        (["digits-t4", "--to", "torch-export", "--weight-bits", "8"], "weight_bits 8 is of the targets onnx and c"),
        (["digits-t4", "--to", "nir", "--weight-bits", "4"], "weight_bits 4 is of the targets onnx and c"),
        (["digits-t4", "--weight-bits", "5"], "weight-bits"),
        (["digits-t4", "--write-out", "graded"], "write-out"),
        (["digits-t4", "--to", "nir"], "has a gain for each time step, and NIR knows no time steps"),
        (["digits-t4", "--strict"], "strict is of NIR files"),
        (["digits-t4", "--num-steps", "-1"], "num_steps -1"),
        (["digits-t4", "--batch-size", "0"], "batch-size"),
        (["digits-t4", "--out", "there.onnx/file.onnx"], "there.onnx"),
    ],
)
def test_mistakes_are_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.onnx").write_text("mine")
    assert main(["export", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message.replace("-", "").replace("_", "") in line.replace("-", "").replace("_", "")
    assert (tmp_path / "there.onnx").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_force_replaces(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits-t4.onnx").write_text("mine")
    assert main(["export", "digits-t4", "--images", "4", "--force"]) == 0
    assert (tmp_path / "digits-t4.onnx").stat().st_size > 10_000


@pytest.mark.parametrize("verb", ["info", "evaluate"])
@pytest.mark.parametrize("name", ["file.onnx", "file.pt2", "file.c", "file.nir"])
def test_files_that_are_none(verb, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([verb, name]) == 2
    assert f"{name} does not exist" in capsys.readouterr().err
    (tmp_path / name).write_bytes(b"no such file" * 100)
    assert main([verb, name]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert name in line
    assert "export it again" in line or "give a file that sresnet export wrote" in line or "not a complete zip" in line


def test_an_onnx_file_of_others(tmp_path, capsys):
    import onnx

    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    made = onnx.helper.make_model(onnx.helper.make_graph([node], "other", values[:1], values[1:]), ir_version=9)
    path = tmp_path / "other.onnx"
    path.write_bytes(made.SerializeToString())
    assert main(["info", str(path)]) == 2
    assert "does not say what network it is" in capsys.readouterr().err


def test_without_the_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    there = importlib.util.find_spec
    monkeypatch.setattr("sresnet.export.target.find_spec", lambda name: None if name == "onnx" else there(name))
    assert main(["export", "digits-t4"]) == 2
    assert "target onnx needs onnx, not installed here: pip install 'sresnet[onnx]'" in capsys.readouterr().err


def test_a_file_with_other_scores_is_not_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    from sresnet.export import run_onnx

    right = run_onnx.OnnxFile.scores
    monkeypatch.setattr(run_onnx.OnnxFile, "scores", lambda self, x: right(self, x) + 0.01)
    assert main(["export", "digits-t4", "--images", "10"]) == 1
    assert "images have other scores in the exported file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["onnx", "c"])
def test_weights_in_few_bits(target, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for bits in ("32", "8", "4"):
        flags = ["--to", target, "--images", "100", "--weight-bits", bits, "--out", f"{bits}.{target}"]
        assert main(["export", "digits-t4", *flags]) == 0
    out = capsys.readouterr().out
    sizes = [int(size.replace(",", "")) for size in re.findall(r"^written: .*, ([\d,]+) bytes$", out, re.M)]
    assert sizes[1] < 0.6 * sizes[0]
    assert sizes[2] < 0.7 * sizes[1]
    for before, after in re.findall(r"(\S+) % before, (\S+) % after", out):
        assert float(after) >= float(before) - 3
    assert main(["info", f"4.{target}"]) == 0
    assert "T = 4, weights of 4 bits, exported by" in capsys.readouterr().out


def test_weights_that_are_rounded_otherwise_are_noticed(tmp_path, monkeypatch, capsys):
    """A file is compared with weights of as many bits as it has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sresnet.export.c.packed", lambda whole: torch.zeros(-(-whole.numel() // 2), dtype=torch.uint8))
    assert main(["export", "digits-t4", "--to", "c", "--images", "10", "--weight-bits", "4"]) == 1
    assert "images have other scores in the exported file" in capsys.readouterr().err


LIMITS = """
weight_bits = 8
weights_per_step = true
spike_bits = 8
[[cores]]
count = 20
neurons = 1024
"""


def test_check_of_a_chip(tmp_path, monkeypatch, capsys):
    """Nothing is written; what does not fit is status 3, and its cures lead to status 0."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(LIMITS)
    assert main(["export", "digits-t4", "--check", "mine.toml"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "sresnet8, 16 filters, T = 4, weights of 32 bits, images of 8x8, on mine"
    assert re.search(r"^stem\.neuron +1,024 +9 +144 +7,744 +0 +1 +pixels +32-bit weights *$", "\n".join(lines), re.M)
    assert "10 layers: weights of 32 bits, and the chip's have 8: --weight-bits 8" in lines
    real = "3 layers: messages are real-valued sums, and the chip's are whole numbers of 8 bits: --write-out binary"
    assert real in lines
    assert lines[-1] == "mine: does not fit, for 2 reasons"
    assert main(["export", "digits-t4", "--check", "mine.toml", "--weight-bits", "8"]) == 3
    assert main(["export", "digits-t4", "--check", "mine.toml", "--write-out", "binary", "--weight-bits", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "mine: fits"
    assert "in all: 8 of 20 cores, 4,618 neurons, 654,912 synapses" in lines
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize("target", ["loihi2", "spinnaker2", "speck"])
def test_check_of_a_known_chip(target, capsys):
    assert main(["export", "digits-t4", "--check", target]) == 3
    out = capsys.readouterr().out
    assert "gains or weights change with the time step: sresnet finetune RUN" in out
    assert "not published, so not checked: " in out
    assert "source: " in out


def test_check_of_a_network_of_events(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = "--model.base-filters 2 --train.epochs 1 --data.train-images 40 --data.test-images 20 --out run".split()
    assert main(["train", "digits-dvs", *flags, "--cache-dir", "cache"]) == 0
    capsys.readouterr()
    assert main(["export", "run", "--check", "spinnaker2"]) == 3
    (stem,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("stem.neuron")]
    assert " spikes " in stem


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--check", ""], "check '' is unknown, and no .toml file of limits: "),
        (["--check", "loihi"], "check 'loihi' is unknown, and no .toml file of limits: did you mean 'loihi2'?"),
        (["--check", "none.toml"], "none.toml does not exist"),
        (["--check", "speck", "--out", "a.onnx"], "--check writes no file, and --out is about one: leave it out"),
        (["--check", "speck", "--force"], "--check writes no file, and --force is about one: leave it out"),
        (["--check", "mine.toml"], "mine.toml has no field 'core'"),
    ],
)
def test_mistakes_of_a_check_are_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text("core = 3")
    assert main(["export", "digits-t4", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_network_that_cannot_be_written_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = "--model.base-filters 2 --model.num-steps 2 --model.downsample max --train.epochs 1 --out run".split()
    assert main(["train", "digits", *flags]) == 0
    assert main(["export", "run", "--write-out", "binary"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is a max pool" in line
    assert "use downsample 'stride' or 'avg'" in line
    assert line.endswith("; or export it without --write-out")
    assert not (tmp_path / "run.onnx").exists()


def test_without_a_compiler(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CC", raising=False)
    assert main(["export", "digits-t4", "--to", "c"]) == 2
    assert "no C compiler is here" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_look_at_a_file_in_c_runs_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "digits-t4", "--to", "c", "--images", "4"]) == 0
    text = (tmp_path / "digits-t4.c").read_text()
    (tmp_path / "digits-t4.c").write_text(text.replace("#include <math.h>", "#error"))
    assert main(["info", "digits-t4.c"]) == 0
    assert main(["evaluate", "digits-t4.c"]) == 2
    assert "does not compile the file" in capsys.readouterr().err


def test_nir(tmp_path, monkeypatch, capsys):
    pytest.importorskip("nir", reason="the extra nir is not installed")
    monkeypatch.chdir(tmp_path)
    flags = "--model.base-filters 4 --model.norm time-averaged --model.num-steps 3 --train.epochs 1".split()
    assert main(["train", "digits", *flags, "--out", "run"]) == 0
    assert main(["export", "run", "--to", "nir", "--images", "40"]) == 0
    out = capsys.readouterr().out
    before, after = re.search(
        r"test accuracy: (\S+) % before, (\S+) % after export in Euler steps of NIR", out
    ).groups()
    assert before == after
    assert main(["info", "run.nir"]) == 0
    assert "sresnet8, 4 filters, T = 3" in capsys.readouterr().out
    assert main(["evaluate", "run.nir", "--images", "40"]) == 0
    assert f"test accuracy: {after} %" in capsys.readouterr().out
    assert main(["export", "run", "--to", "nir", "--strict", "--out", "strict.nir"]) == 2
    assert "resets by subtraction, which takes a cycle in NIR" in capsys.readouterr().err
    assert not (tmp_path / "strict.nir").exists()


@pytest.mark.parametrize("method", ["few-spikes", "whetstone"])
def test_neurons_whose_thresholds_are_not_those_of_a_potential(method, tmp_path, monkeypatch, capsys):
    """Rounding decides at their thresholds too, so images near one are counted apart."""
    monkeypatch.chdir(tmp_path)
    flags = "--model.base-filters 4 --model.num-steps 1 --model.downsample avg --train.epochs 2 --out ann".split()
    kind = ["sharpened", "--train.sharpen-epochs", "0", "2"] if method == "whetstone" else ["relu"]
    assert main(["train", "digits", *flags, "--model.neuron", *kind]) == 0
    assert main(["convert", "ann", "--method", method, "--out", "run"]) == 0
    for source in ("run", "ann"):
        assert main(["export", source, "--images", "0", "--out", f"{source}.onnx"]) == 0
    assert re.search(r"^and on \d+ of [1-9]\d* with a potential", capsys.readouterr().out, re.M)


@pytest.mark.parametrize(("compiler", "reason"), [("no-such", "CC is 'no-such'"), ("true -c", "true does not compile")])
def test_a_compiler_that_is_none(compiler, reason, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CC", compiler)
    assert main(["export", "digits-t4", "--to", "c"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line
    assert "to a C compiler" in line
    assert not list(tmp_path.iterdir())


def test_damaged_metadata_is_one_line(tmp_path, monkeypatch, capsys):
    """Whatever a file says of itself: the same reader takes that of ONNX and torch.export."""
    monkeypatch.chdir(tmp_path)
    assert main(["export", "digits-t4", "--to", "c", "--images", "4"]) == 0
    first, _, rest = (tmp_path / "digits-t4.c").read_text().partition("\n")
    said = json.loads(first.removeprefix("/* sresnet: ").removesuffix(" */"))
    lines = ["[]", "3", "null", json.dumps(said | {"sresnet.num_steps": 4})]
    wrong = {"num_steps": "-1", "image_size": "[0, 8]", "in_channels": "0", "std": "null", "mean": "[0.1, 0.2]"}
    wrong |= {"class_names": "[]", "scale": "0.0", "delta_threshold": "-1.0", "top1_after": "101.0", "images": "-1"}
    lines += [json.dumps(said | {f"sresnet.{name}": text}) for name, text in wrong.items()]
    capsys.readouterr()
    for line in lines:
        (tmp_path / "other.c").write_text(f"/* sresnet: {line} */\n{rest}")
        assert main(["info", "other.c"]) == 2, line
        assert len(capsys.readouterr().err.splitlines()) == 1
    (tmp_path / "other.c").write_text(first + "\n" + rest.replace("sresnet_start(", "start("))
    assert main(["evaluate", "other.c"]) == 2
    assert "lacks sresnet_start" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"takes": '"steps"'}, {"takes": '"frames"'}, {"num_steps": "3"}])
def test_a_file_that_is_not_what_it_says(change, tmp_path, monkeypatch, capsys):
    import onnx

    monkeypatch.chdir(tmp_path)
    assert main(["export", "digits-t4", "--images", "4", "--out", "file.onnx"]) == 0
    made = onnx.load("file.onnx")
    for each in made.metadata_props:
        each.value = change.get(each.key.removeprefix("sresnet."), each.value)
    onnx.save(made, "file.onnx")
    capsys.readouterr()
    assert main(["evaluate", "file.onnx", "--images", "4"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "does not do what it says of itself" in line
