"""Networks held against the limits of chips."""

import json
import re
from dataclasses import fields, replace

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

from sresnet.analysis import hardware_network, hardware_view
from sresnet.cli.parse import parse
from sresnet.convert import METHODS, to_spiking
from sresnet.errors import UserError
from sresnet.export.chips import CHIPS, Chip, Cores, chip_of
from sresnet.export.fitting import _layers_of, fit, unchecked
from sresnet.models.program import program_of, run
from sresnet.models.written_out import written_out
from sresnet.nn import Skip
from sresnet.train.recipes import RECIPES
from tests.analysis.test_hardware import VARIANTS
from tests.models.test_program import ZOO, trained
from tests.models.test_written_out import network
from tests.test_docs import recipe_options

ANY = Chip(name="any", cores=(Cores(count=1000),), spike_bits=32, weights_per_step=True)


def found_of(model, chip, *, size=(16, 16), binary=False, bits=32, events=False):
    """A network held against a chip."""
    program = written_out(model, size) if binary else program_of(model)
    return fit(model, program, size, chip, weight_bits=bits, events=events)


def shorts(model, chip, **fields):
    """What is violated, in words for a table."""
    return {each.short for each in found_of(model, chip, **fields).violations}


# Layers ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", VARIANTS.values(), ids=VARIANTS)
def test_synapses_of_single_spikes_are_those_of_the_hardware_view(given):
    model, images = network(given)
    size = tuple(images.shape[-2:])
    layers = _layers_of(written_out(model, size), size)
    expected = {each.name: each.synapses for each in hardware_view(model, size).layers}
    assert {each.name: each.synapses for each in layers} == expected
    readout = layers[-1]
    assert readout.fan_in * readout.neurons == readout.synapses


@pytest.mark.parametrize("connection", ["s2s", "s2m", "v2v", "none"])
def test_layers_of_graded_spikes_are_those_of_the_hardware_view(connection):
    model, _ = network({"name": "sresnet14", "connection": connection})
    graded = hardware_network(model, (7, 10), form="graded")
    expected = {each.name: sum(graded.synapses(each)) for each in graded.populations}
    found = {each.name.removesuffix(".linear"): each.synapses for each in _layers_of(program_of(model), (7, 10))}
    if connection == "v2v":
        expected["stem.norm"] = expected.pop("stem.sum")  # of one current
        # The last sum drives neurons alone, which take what arrives themselves.
        assert "stage3_block2.sum" not in found
        expected["stage3_block2.neuron2"] = expected.pop("stage3_block2.sum")
    assert found == expected


NETWORKS = {
    **{connection: ("sresnet14", {"connection": connection}) for connection in ("s2s", "s2m", "v2v", "none")},
    "avg": ("sresnet8", {"downsample": "avg"}),
    "max": ("sresnet8", {"downsample": "max", "connection": "none"}),
    "learned": ("sresnet8", {"skip": "learned"}),
    "threshold": ("sresnet8", {"connection": "s2m", "threshold": 0.7}),
    "and": ("sew_resnet18", {"join": "and", "stem": "c3", "num_classes": 10}),
    **{each: ("sresnet8", {"encoder": each}) for each in ("poisson", "poisson-signed", "latency", "delta")},
}


@pytest.mark.parametrize(("name", "given"), NETWORKS.values(), ids=NETWORKS)
def test_messages_are_what_is_said_of_them(name, given):
    """Spikes are 0 or 1, sums are whole numbers up to the largest, and the rest is no whole number."""
    model = trained(name, base_filters=4, num_steps=3, **given)
    images = torch.rand(4, 3, 16, 16, dtype=torch.float64)
    images = images if given.get("encoder") in ("poisson", "latency") else 3 * images - 1.5
    for each in model.modules():
        if isinstance(each, Skip) and each.weight is not None:
            torch.nn.init.uniform_(each.weight, 0.2, 0.8)
    program, seen = program_of(model), []
    with torch.no_grad():
        frames = model.encode(images, None)
        run(program, frames, lambda stepped: seen.append(stepped.outputs))
    kinds = set()
    for layer in _layers_of(program, (16, 16)):
        for each in layer.incoming:
            values = torch.stack([step[each.source] for step in seen])
            kinds.add(each.message.kind)
            if each.message.kind == "spikes":
                assert set(values.unique().tolist()) <= {0, 1}, each
            elif each.message.kind == "signed spikes":
                assert set(values.unique().tolist()) == {-1, 0, 1}
            elif each.message.kind == "sums of spikes":
                assert torch.equal(values, values.round())
                assert 1 < values.max() <= each.message.most
            else:
                assert not torch.equal(values, values.round()), each
    assert "spikes" in kinds
    if given.get("connection") in ("s2m", "none"):
        assert kinds == {"spikes", "pixels"}


def test_fan_in_weights_and_delays():
    model = trained("sresnet8", base_filters=4, num_steps=2, connection="s2m", norm="tdbn")
    layers = {each.name: each for each in _layers_of(program_of(model), (16, 16))}
    assert layers["stem.neuron"].fan_in == 9 * 3
    second = layers["stage1_block1.neuron2"]  # its own convolution, and one synapse from the stem
    assert (second.fan_in, second.delay, second.destinations) == (9 * 4 + 1, 1, 2)
    assert second.weights(ANY) == 9 * 4 * 4
    skipped = layers["stage2_block1.neuron2"]  # and a 1x1 convolution of stride 2
    assert skipped.fan_in == 9 * 8 + 4
    assert skipped.weights(ANY) == 9 * 8 * 8 + 4 * 8
    readout = layers["readout.linear"]
    assert (readout.role, readout.fan_in, readout.weights(ANY), readout.delay) == ("readout", 16 * 16, 160, 0)
    # Speck has a kernel of 3x3 for both that arrive, rounded up to 16 taps and 8 filters.
    assert skipped.weights(CHIPS["speck"]) == (8 + 4) * 16 * 8


@pytest.mark.parametrize("connection", ["s2s", "v2v"])
def test_graded_messages_are_gone_where_a_network_is_written_out(connection):
    model = trained("sresnet14", base_filters=4, num_steps=2, connection=connection)
    chip = replace(ANY, spike_bits=1)
    assert shorts(model, chip) - {"pixels"}
    cures = {each.cure for each in found_of(model, chip).violations if each.short != "pixels"}
    assert cures == {"--write-out binary"}
    assert shorts(model, chip, binary=True) == {"pixels"}


def test_graded_messages_of_networks_that_have_no_other_form():
    model = trained("sresnet8", base_filters=4, num_steps=2, readout="spikes")
    chip = replace(ANY, spike_bits=1)
    assert {each.cure for each in found_of(model, chip).violations if each.short == "sums up to 2"} == {
        "train a network without such messages, such as an S-ResNet with --model.connection s2m"
    }
    ann = trained("resnet8", base_filters=4, neuron="relu", num_steps=1, connection="s2m")
    (cure,) = {each.cure for each in found_of(ann, chip).violations if each.short == "activations"}
    assert "sresnet convert RUN --method deng" in cure
    converted = to_spiking(ann, torch.randn(8, 3, 16, 16).double(), replace(METHODS["deng"], num_steps=4))
    assert "activations" not in shorts(converted, chip)


# Limits ---------------------------------------------------------------------------------------------------------------

PLAIN = {"connection": "none", "norm": "tdbn", "neuron": "if", "encoder": "poisson"}
LIMITS = [
    ("fan_in", 256, "fan-in", PLAIN),
    ("destinations", 1, "destinations", PLAIN),
    ("delay", 0, "delay", PLAIN),
    ("weight_bits", 32, "32-bit weights", PLAIN),
    ("kernel", 4, "kernel", PLAIN),
    ("padding", 1, "padding", PLAIN),
    ("channels", 16, "channels", PLAIN),
    ("pixels", 16, "pixels along a side", PLAIN),
    ("neurons", 4 * 16 * 16 * 3 + 8 * 8 * 8 * 2 + 16 * 4 * 4 * 2 + 10, "neurons", PLAIN),
    ("delay", 1, "delay", PLAIN | {"connection": "s2m"}),
    ("destinations", 2, "destinations", PLAIN | {"connection": "s2m"}),
]


@pytest.mark.parametrize(("limit", "most", "short", "given"), LIMITS)
def test_every_limit_holds_up_to_its_number(limit, most, short, given):
    model = trained("sresnet8", base_filters=4, num_steps=2, **given)
    assert shorts(model, replace(ANY, **{limit: most})) == set()
    if most > (0 if limit in ("delay", "padding") else 1):
        assert shorts(model, replace(ANY, **{limit: most - 1})) == {short}


@pytest.mark.parametrize(
    ("limits", "short", "given"),
    [
        ({"strides": (1,)}, "stride", {}),
        ({"strides_per_layer": 1}, "strides", {"connection": "s2m"}),
        ({"leaks": False}, "leak", {"neuron": "lif"}),
        ({"reads_potentials": False}, "potential", {}),
        ({"weights_per_step": False}, "weights per step", {"norm": "bntt"}),
        ({"spike_bits": 1}, "signed spikes", {"encoder": "delta"}),
        ({"spike_bits": 1}, "pixels", {"encoder": "direct"}),
        ({"spike_bits": 1}, "sums up to 2", {"connection": "s2s"}),
        ({"synapses": 10_000}, "synapses", {}),
        ({"cores": (Cores(count=6, neurons=1024),)}, "cores", {}),
        ({"cores": (Cores(count=9, neurons=1024, weights=16 * 16 * 9 - 1),), "one_core_per_layer": True}, "core", {}),
    ],
)
def test_what_a_chip_cannot_do(limits, short, given):
    model = trained("sresnet8", base_filters=4, num_steps=2, **PLAIN | given)
    assert shorts(model, ANY) == set() or "real-valued sums" in shorts(model, ANY)
    assert short in shorts(model, replace(ANY, **limits))


def test_pixels_take_eight_bits():
    model = trained("sresnet8", base_filters=4, num_steps=2, **PLAIN | {"encoder": "direct"})
    assert shorts(model, replace(ANY, spike_bits=8)) == set()
    (only,) = found_of(model, replace(ANY, spike_bits=7)).violations
    assert only.what == "the input is pixels, and the chip's messages are whole numbers of 7 bits"
    (only,) = found_of(model, replace(ANY, spike_bits=1)).violations
    assert only.what == "the input is pixels, and the chip's messages are spikes of 0 or 1"


def test_events_arrive_as_spikes():
    model = trained("sresnet8", base_filters=4, num_steps=2, **PLAIN | {"encoder": "direct"}, in_channels=2)
    chip = replace(ANY, spike_bits=1)
    assert shorts(model, chip, events=True) == set()
    assert shorts(model, chip) == {"pixels"}


def test_biases_of_each_pixel_are_those_of_shifts_behind_skips():
    model = trained("sresnet14", base_filters=4, num_steps=2, norm="time-averaged", norm_bias=True)
    chip = replace(ANY, bias_per_pixel=False)
    assert shorts(model, chip, binary=True) == {"bias per pixel"}
    bare = trained("sresnet14", base_filters=4, num_steps=2, norm="time-averaged", norm_bias=True, skip_norm=False)
    assert shorts(bare, chip, binary=True) == set()


def test_rounded_weights_cure_their_violation():
    model = trained("sresnet8", base_filters=4, num_steps=2, **PLAIN)
    for most, cure in ((8, "--weight-bits 8"), (4, "--weight-bits 4"), (2, "round them to 2 bits elsewhere")):
        chip = replace(ANY, weight_bits=most)
        assert {each.cure for each in found_of(model, chip).violations} == {cure}
        assert (shorts(model, chip, bits=4) == set()) == (most >= 4)


def test_averages_are_spikes_of_a_chip_that_pools_them():
    model = trained("sresnet8", base_filters=4, num_steps=2, **PLAIN | {"downsample": "avg"})
    chip = replace(ANY, spike_bits=1)
    assert shorts(model, chip) == {"averages"}
    assert shorts(model, replace(chip, pools=(1, 2))) == set()


def test_layers_are_placed_on_cores_of_several_kinds():
    """Six layers and the readout: three of 1,024 neurons, two of 512 and two of 256; the last needs many weights."""
    model = trained("sresnet8", base_filters=4, num_steps=2, **PLAIN)
    large, small = Cores(count=3, neurons=1024, weights=700), Cores(count=5, neurons=512, weights=16 * 16 * 16)
    chip = replace(ANY, one_core_per_layer=True, cores=(large, small))
    assert shorts(model, chip) == set()
    assert sum(found_of(model, chip).cores) == 8
    fewer = replace(chip, cores=(replace(large, count=2), replace(small, count=6)))
    assert shorts(model, fewer) == {"placement"}
    # The first layers could be on either kind; they are moved from the only places for the last two.
    heavy = (Cores(count=2, neurons=1024, weights=2560), Cores(count=6, neurons=1024, weights=2303))
    assert shorts(model, replace(chip, cores=heavy)) == set()
    heavy = (replace(heavy[0], count=1), replace(heavy[1], count=7))
    assert shorts(model, replace(chip, cores=heavy)) == {"placement"}


@pytest.mark.parametrize("target", CHIPS)
def test_known_chips(target):
    chip = chip_of(target)
    assert chip.sources
    assert all(each.count >= 1 for each in chip.cores)
    model = trained("sresnet8", base_filters=4, num_steps=2)
    assert found_of(model, chip).violations
    assert set(unchecked(chip)) <= {
        *("neurons of the chip", "synapses of the chip", "fan-in", "destinations of a layer", "delays"),
        *("neurons of a core", "weights of a core"),
    }
    assert "delays" in unchecked(chip)
    assert unchecked(replace(ANY, cores=(Cores(count=1, neurons=1),)))[-1] == "weights of a core"


def test_a_network_that_fits_each_chip():
    """Trained as the cures say."""
    given = {"connection": "none", "norm": "time-averaged", "neuron": "if", "encoder": "poisson", "readout": "spikes"}
    model = trained("sresnet8", base_filters=4, num_steps=2, **given)
    for chip in CHIPS.values():
        assert shorts(model, chip, bits=8) == set(), chip.name


def test_cures_are_flags_of_the_package():
    cures = set()
    for given in ({}, {"connection": "v2v"}, {"downsample": "avg"}, {"readout": "spikes"}):
        model = trained("sresnet8", base_filters=2, num_steps=2, **given)
        for chip in (*CHIPS.values(), replace(ANY, delay=0, destinations=1, weights_per_step=False)):
            for binary in (False, True) if given.get("readout") != "spikes" else (False,):
                cures |= {each.cure for each in found_of(model, chip, binary=binary).violations}
    flags = {" ".join(re.findall(r"--model\.no-\S+|--(?:model|data)\.\S+ [^\s,]+", cure)) for cure in cures} - {""}
    assert len(flags) >= 6
    for each in flags:
        parse(recipe_options(RECIPES["digits"][1]), each.split(), "test", "")


# Files of limits ------------------------------------------------------------------------------------------------------


def test_limits_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("fan_in = 64\nstrides = [1, 2]\nleaks = false\n[[cores]]\ncount = 4\nneurons = 256\n")
    chip = chip_of(str(path))
    assert (chip.name, chip.fan_in, chip.strides, chip.leaks) == ("mine", 64, (1, 2), False)
    assert chip.cores == (Cores(count=4, neurons=256),)
    assert {field.name for field in fields(Chip)} >= {"fan_in", "cores"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fan_inn = 3\n[[cores]]\ncount = 1", "has no field 'fan_inn': did you mean 'fan_in'"),
        ("[[cores]]\ncount = 1\nneuron = 3", "has no field 'neuron': did you mean 'neurons'"),
        ("fan_in = 3.5\n[[cores]]\ncount = 1", "fan_in is 3.5"),
        ("fan_in = 0\n[[cores]]\ncount = 1", "fan_in 0 is less than 1"),
        ("delay = -1\n[[cores]]\ncount = 1", "delay -1 is less than 0"),
        ("strides = [1, 0]\n[[cores]]\ncount = 1", "strides 0 is less than 1"),
        ("[[cores]]\ncount = 0", "count 0 is less than 1"),
        ("[[cores]]\nneurons = 5", "lacks the field 'count'"),
        ("fan_in = 3", "lacks the field 'cores'"),
        ("cores = []", "has no cores"),
        ("[cores]\ncount = 3", "has a table [cores]: write [[cores]], once for each kind of core"),
        ("cores = 3", "cores is 3"),
        ("cores = [3]", "cores[0] is 3"),
        ("fan_in 3", "is not TOML"),
        ("\0", "is not TOML"),
        ("a = " + "[" * 3000, "is not TOML"),
        ("leaks = 1\n[[cores]]\ncount = 1", "leaks is 1"),
    ],
)
def test_files_of_limits_that_are_none(text, message, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        chip_of(str(path))
    assert len(str(caught.value).splitlines()) == 1


VALUES = st.recursive(
    st.integers(-3, 10**40) | st.floats() | st.booleans() | st.text(max_size=5),
    lambda one: st.lists(one, max_size=3) | st.dictionaries(st.sampled_from(["count", "x"]), one, max_size=2),
    max_leaves=4,
)
FIELDS = st.dictionaries(st.sampled_from([field.name for field in fields(Chip)]), VALUES, max_size=4)


def toml(value):
    """A value as TOML writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {toml(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value) if isinstance(value, bool | str) else str(value)


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(FIELDS, st.booleans())
def test_wild_limits_are_limits_or_one_line(tmp_path_factory, values, placed):
    path, message = tmp_path_factory.mktemp("limits") / "mine.toml", ""
    lines = [f"{name} = {toml(value)}" for name, value in values.items()]
    path.write_text("\n".join(lines + ["[[cores]]", "count = 2147483647"] * placed))
    try:
        chip = chip_of(str(path))
    except UserError as error:
        message = str(error)
    if message:
        assert len(message.splitlines()) == 1
        assert ": " in message
    else:
        found_of(WILD, chip)


WILD = trained("sresnet8", base_filters=1, num_steps=1, connection="none")


def test_targets_that_are_none(tmp_path):
    with pytest.raises(UserError, match=r"'loihi' is unknown, and no \.toml file of limits: did you mean 'loihi2'"):
        chip_of("loihi")
    with pytest.raises(UserError, match=r"none\.toml does not exist: give a \.toml file of limits, or one of loihi2"):
        chip_of(str(tmp_path / "none.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="is not TOML"):
        chip_of(str(tmp_path / "bytes.toml"))


def test_images_that_are_too_small():
    with pytest.raises(UserError, match="do not fit this network"):
        _layers_of(program_of(trained("kim-vgg9", **ZOO["kim-vgg9"])), (8, 8))
