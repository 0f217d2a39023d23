"""Table 14, and the counts of parameters behind Figs. 4 to 6."""

import pytest
from torch import nn

from sresnet.models import build, num_parameters
from sresnet.studies import published
from sresnet.studies.paper import STUDIES
from sresnet.studies.published import LEAK, TABLE_14, TOPOLOGIES, Topology, _conv, _linear, _norm


@pytest.mark.parametrize(
    ("counted", "expected"),
    [
        (_conv(2, 3), 54),  # 2 * 3 * 3 * 3
        (_conv(4, 5, 1), 20),
        (_linear(6, 7), 42),
        (_linear(6, 7, bias=True), 49),
        (_norm(8), 16),
        (_norm(8, bias=False), 8),
        (_norm(8, bias=False, steps=3), 24),
        (LEAK, 1),
    ],
)
def test_one_layer_by_hand(counted, expected):
    assert counted == expected


def test_a_network_by_hand():
    layers = (_conv(1, 2), _norm(2), LEAK, _linear(2, 3, bias=True))
    assert Topology("small", layers, "this test", "not verified").parameters == 18 + 4 + 1 + 9


def test_counts_by_hand():
    """Each sum written out once more, from the authors' layers, by another way than the topologies'."""
    nine = 9
    vgg9 = nine * (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 2 * 256 * 256) + 4096 * 1024
    gammas = 64 + 64 + 128 + 128 + 3 * 256 + 1024
    assert published.KIM_CIFAR10.parameters == vgg9 + 25 * gammas + 10 * 1024 == 5_993_280
    assert published.KIM_CIFAR100.parameters == published.KIM_CIFAR10.parameters + 90 * 1024
    skips = 64 * 128 + 128 * 256 + 256 * 512
    lee = nine * (3 * 64 + 64 * 128 + 128**2 + 128 * 256 + 256**2 + 256 * 512 + 512**2 + 2 * 512**2) + skips
    assert published.LEE.parameters == lee + 8192 * 1024 + 1024 * 10
    cifar = nine * (3 * 256 + 5 * 256**2) + 6 * 2 * 256 + 16384 * 2048 + 2048 * 100 + 8
    assert published.FANG_CIFAR.parameters == cifar == 36_718_344
    dvs = nine * (2 * 128 + 3 * 128**2) + 4 * 2 * 128 + 8192 * 2048 + 2048 * 100 + 6
    assert published.FANG_DVS.parameters == dvs == 17_427_718
    blocks = 8 * (nine * 64**2 + 2 * 64 + 1) + 6 * (nine * 128**2 + 2 * 128 + 1)
    sew = (2 * 64 + 2 * 64 + 1) + (64 * 128 + 2 * 128 + 1) + blocks + 128 * 10 + 10
    assert published.FANG_SEW.parameters == sew == 1_192_218


def test_resnet19_equals_a_built_one():
    """The layers of the table as modules, counted by torch."""

    def batch_norm(channels):
        return nn.BatchNorm2d(channels, device="meta")

    def convolution(inputs, outputs, kernel=3):
        return nn.Conv2d(inputs, outputs, kernel, bias=False, device="meta")

    for stem, expected in ((128, None), (64, 12_630_858)):
        parts, channels = [convolution(3, stem), batch_norm(stem)], stem
        for width in (128, 128, 128, 256, 256, 256, 512, 512):
            parts += [convolution(channels, width), batch_norm(width), convolution(width, width), batch_norm(width)]
            parts += [convolution(channels, width, 1), batch_norm(width)] if channels != width else []
            channels = width
        parts += [nn.Linear(512, 256, device="meta"), nn.Linear(256, 10, device="meta")]
        built = sum(parameter.numel() for part in parts for parameter in part.parameters())
        counted = sum(published._zheng_resnet19(3, stem))
        assert counted == built
        assert expected in (None, counted)  # the 12.63 million of the note
    two = published.ZHENG_EVENTS.parameters
    assert published.ZHENG.parameters - two == 128 * 9


def test_the_table():
    assert len(TABLE_14) == 19
    assert [entry.data for entry in TABLE_14] == ["CIFAR-10"] * 10 + ["CIFAR-100"] * 4 + ["DVS-CIFAR10"] * 5
    best = {data: max(e.accuracy for e in TABLE_14 if e.data == data) for data in ("CIFAR-10", "CIFAR-100")}
    own = {entry.data: entry.accuracy for entry in TABLE_14 if entry.reference is None}
    assert own == {**best, "DVS-CIFAR10": 72.98}  # the paper claims the first place on the two image sets
    assert {entry.reference for entry in TABLE_14} - {None} <= set(published.REFERENCES)


def test_conversions_are_not_counted_and_the_others_are():
    for entry in TABLE_14:
        if entry.method == "SNN conversion":
            assert entry.parameters is None
        elif (entry.network, entry.data) != ("Kim S-VGG9", "DVS-CIFAR10"):
            assert entry.parameters > 100_000, entry
    assert all(topology.source for topology in TOPOLOGIES)
    unsure = {topology.name for topology in TOPOLOGIES if topology.checked == "not verified"}
    assert unsure == {"ResNet-19 (tdBN)"}


def test_our_own_are_those_of_the_study():
    """Table 14 is read in one way: what is trained for it is what is counted and drawn."""
    own = {entry.data: entry.parameters for entry in TABLE_14 if entry.reference is None}
    cells = {cell.column: cell.training.recipe.model for cell in STUDIES["table14"].cells}
    assert own == {data: num_parameters(build(model)) for data, model in cells.items()}
    assert own["CIFAR-10"] == 2_399_776  # Table 7, with boosting
    assert own["CIFAR-100"] == 2_399_776  # Table 6, without
    assert own["DVS-CIFAR10"] == 2_388_256 - 32 * 9  # Table 7, two input channels instead of three


def test_one_network_compared_with_has_fewer_parameters_than_the_paper_s():
    """Section 5.1, from the counts alone: with 32 filters on DVS-CIFAR10."""
    smaller = [
        (entry.network, entry.data)
        for entry in TABLE_14
        if entry.topology and entry.parameters < published._own_parameters(entry.data)
    ]
    assert smaller == [("Fang Wide-7B-Net", "DVS-CIFAR10")]
