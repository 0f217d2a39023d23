"""Table 14, and the counts of parameters behind Figs. 4 to 6."""

import pytest

from sresnet.models import build, num_parameters
from sresnet.studies import published
from sresnet.studies.paper import STUDIES
from sresnet.studies.published import TABLE_14, TOPOLOGIES, published_as
from sresnet.train.recipes import RECIPES


def test_counts_by_hand():
    """Each sum written out from the authors' layers, by another way than building the network."""
    nine = 9
    vgg9 = nine * (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 2 * 256 * 256) + 4096 * 1024
    gammas = 64 + 64 + 128 + 128 + 3 * 256 + 1024
    assert published.KIM_CIFAR10.parameters == vgg9 + 25 * gammas + 10 * 1024 == 5_993_280
    (as_printed,) = published.KIM_CIFAR100.others
    assert as_printed.parameters == published.KIM_CIFAR10.parameters + 90 * 1024
    widths = (64, 128, 256, 256, 512, 512, 512, 512)
    vgg11 = nine * sum(a * b for a, b in zip((3, *widths), widths, strict=False)) + 512 * 4096 + 4096 * 100
    assert published.KIM_CIFAR100.parameters == vgg11 + 30 * (sum(widths) + 4096) == 11_929_920
    skips = 64 * 128 + 128 * 256 + 256 * 512
    lee = nine * (3 * 64 + 64 * 128 + 128**2 + 128 * 256 + 256**2 + 256 * 512 + 512**2 + 2 * 512**2) + skips
    assert published.LEE.parameters == lee + 8192 * 1024 + 1024 * 10 == 17_936_064
    cifar = nine * (3 * 256 + 5 * 256**2) + 6 * 2 * 256 + 16384 * 2048 + 2048 * 100 + 8
    assert published.FANG_CIFAR.parameters == cifar == 36_718_344
    dvs = nine * (2 * 128 + 3 * 128**2) + 4 * 2 * 128 + 8192 * 2048 + 2048 * 100 + 6
    assert published.FANG_DVS.parameters == dvs == 17_427_718
    blocks = 8 * (nine * 64**2 + 2 * 64 + 1) + 6 * (nine * 128**2 + 2 * 128 + 1)
    sew = (2 * 64 + 2 * 64 + 1) + (64 * 128 + 2 * 128 + 1) + blocks + 128 * 10 + 10
    assert published.FANG_SEW.parameters == sew == 1_192_218
    assert published.FANG_SEW.others[0].parameters == sew + 8 * (2 * 64 + 64 * 128)
    assert published.KIM_EVENTS.parameters == 5_938_304 + 2_176 * 20


@pytest.mark.parametrize(("topology", "channels"), [(published.ZHENG, 3), (published.ZHENG_EVENTS, 2)])
def test_resnet19_by_hand(topology, channels):
    """The table's layers with one stem and the other, with norms on identities and without."""
    found = []
    for stem, everywhere in ((128, False), (64, False), (128, True), (64, True)):
        count, before = 9 * channels * stem + 2 * stem, stem
        for width in (128, 128, 128, 256, 256, 256, 512, 512):
            count += 9 * before * width + 9 * width**2 + 2 * 2 * width
            count += before * width + 2 * width if before != width else 2 * width if everywhere else 0
            before = width
        found.append(count + 512 * 256 + 256 + 256 * 10 + 10)
    assert [each.parameters for each in (topology, *topology.others)] == found
    assert found[:2] == ([12_697_994, 12_630_858] if channels == 3 else [12_696_842, 12_630_282])


def test_the_table():
    assert len(TABLE_14) == 19
    assert [entry.data for entry in TABLE_14] == ["CIFAR-10"] * 10 + ["CIFAR-100"] * 4 + ["DVS-CIFAR10"] * 5
    best = {data: max(e.accuracy for e in TABLE_14 if e.data == data) for data in ("CIFAR-10", "CIFAR-100")}
    own = {entry.data: entry.accuracy for entry in TABLE_14 if entry.reference is None}
    assert own == {**best, "DVS-CIFAR10": 72.98}  # the paper claims the first place on the two image sets
    assert {entry.reference for entry in TABLE_14} - {None} <= set(published.REFERENCES)


def test_conversions_are_counted_and_in_no_figure():
    converted = [entry for entry in TABLE_14 if entry.method == "SNN conversion"]
    counts = [34_457_354, 39_917_248, 758_842, 11_253_440, 39_917_248, 40_285_888, 35_579_812]
    assert [entry.parameters for entry in converted] == counts
    assert not any(entry.in_figures for entry in converted)
    for entry in TABLE_14:
        if entry in converted:
            continue
        assert entry.in_figures == (entry.topology is not published.KIM_EVENTS)
        if entry.topology is published.KIM_EVENTS:  # a network of ours is no point of theirs
            assert entry.parameters is None
        else:
            assert entry.parameters > 100_000, entry
    assert all(topology.source for topology in TOPOLOGIES)
    unsure = {topology.model for topology in TOPOLOGIES if topology.checked == "not verified"}
    assert unsure == {"zheng-resnet19"}


def test_networks_take_the_data_and_are_trained_by_their_recipe():
    for entry in TABLE_14:
        if entry.topology:
            classes, channels = {"CIFAR-10": (10, 3), "CIFAR-100": (100, 3), "DVS-CIFAR10": (10, 2)}[entry.data]
            for topology in (entry.topology, *entry.topology.others):
                assert (topology.config.num_classes, topology.config.in_channels) == (classes, channels)
    names = ("fang-cifar", "fang-dvs", "fang-wide-7b", "kim-vgg9", "kim-vgg11", "zheng-resnet19", "wu-vgg11")
    for name in (*names, "deng-resnet20", "deng-vgg16", "stoeckl-resnet50", "sengupta-vgg16"):
        (entry, *_) = published_as(name)
        assert RECIPES[name][1].model == entry.topology.config
    assert [entry.accuracy for entry in published_as("zheng-resnet19")] == [93.15, 67.8]
    assert published_as("sresnet38") == published_as("kim-vgg9-dvs") == ()


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
        if entry.topology and entry.in_figures and entry.parameters < published._own_parameters(entry.data)
    ]
    assert smaller == [("Fang Wide-7B-Net", "DVS-CIFAR10")]
