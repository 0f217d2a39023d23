"""What the paper says about its networks, sentence by sentence, as checks over results.

A claim is the paper's, in our words and no wider than there; where the paper gives no measure ("very close", "more
layers active") the one taken here is part of the claim. How noise is treated is in `sresnet.studies.evidence`.

`AFTERWARDS` names the measures that were chosen after results had been looked at.
"""

from dataclasses import dataclass

from sresnet.studies import cells
from sresnet.studies.cells import (
    F3,
    PLAIN,
    RESIDUAL,
    T2_10,
    T2_100,
    T3,
    T6,
    T7,
    T11,
    T12,
    T13,
    T15,
    T16_10,
    T16_100,
    T17,
)
from sresnet.studies.checks import (
    Check,
    close,
    converges_faster,
    falls_with_steps,
    fewest_parameters,
    gamma_localises,
    greater,
    jumps,
    keeps,
    most_accurate,
    never_falls,
    search_closes_gap,
    slower_leak,
    stays_behind,
    striped,
)
from sresnet.studies.evidence import Evidence, Finding
from sresnet.studies.measures import DEEP_ACTIVITY, EVENNESS, REACH, SPIKES, STAGE1_SPIKES
from sresnet.studies.searches import BY_CONNECTION, BY_STEPS


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One statement of the paper."""

    name: str
    says: str
    """In our words."""
    where: str
    """Section, table or equation of the paper."""
    check: Check
    beside: tuple[str, ...] = ()
    """Studies that it is about beside those of its cells: of claims that are read off searches."""

    @property
    def studies(self) -> tuple[str, ...]:
        """What it is about; none: nothing has to be run for it."""
        return (*dict.fromkeys(pick.study for pick in self.check.picks), *self.beside)


def judge(evidence: Evidence) -> list[tuple[Claim, Finding]]:
    """What the results of one scale say about every claim, in the paper's order."""
    return [(claim, claim.check(evidence)) for claim in CLAIMS]


CLOSE = 1.0
"""Points of accuracy that count as close: the paper calls 0.18 and 0.75 "very close" and 0.36 and 0.90 "not far"."""
KEPT = 0.9
"""Part of the accuracy that "most of it" stands for here; by the paper's numbers 0.98 and 0.99 stay after 30 steps."""

AFTERWARDS = (
    "Measures were chosen before there were results, with one exception: that S2S counts sums of spikes, in stage 1, "
    "and that jumps leave S2S out, was decided when the first small networks had been looked at. By the measure chosen "
    "before, the neurons' own spikes, the claim of spikes failed and that of stripes was undecided for S2S; both "
    "readings are in the table."
)
"""For the reader of a page."""

CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="s2s-beats-s2m",
        says="S2S is more accurate than S2M",
        where="Section 4, Table 2",
        check=greater(
            (T2_10["s2s"], T2_10["s2m"]),
            (T2_100["s2s"], T2_100["s2m"]),
            also=((T2_10["s2s"], T2_10["s2m_at"]), (T2_100["s2s"], T2_100["s2m_at"])),
        ),
    ),
    Claim(
        name="v2v-beats-s2m",
        says="V2V is more accurate than S2M",
        where="Section 4, Table 2",
        check=greater(
            (T2_10["v2v"], T2_10["s2m"]),
            (T2_100["v2v"], T2_100["s2m"]),
            also=((T2_10["v2v"], T2_10["s2m_at"]), (T2_100["v2v"], T2_100["s2m_at"])),
        ),
    ),
    Claim(
        name="s2s-beats-v2v",
        says="S2S is the most accurate connection, before V2V",
        where="Section 4, Table 2",
        check=greater((T2_10["s2s"], T2_10["v2v"]), (T2_100["s2s"], T2_100["v2v"])),
    ),
    Claim(
        name="v2v-close-to-s2s",
        says=f"V2V is very close to S2S (here: within {CLOSE:g} point)",
        where="Section 4, Table 2",
        check=close((T2_10["v2v"], T2_10["s2s"]), (T2_100["v2v"], T2_100["s2s"]), margin=CLOSE),
    ),
    Claim(
        name="search-helps-s2m",
        says="More search of hyper-parameters attenuates what S2M loses (here: the gap to S2S on held-out images of "
        "CIFAR-10, with the paper's values and in the six best trials of a search of leak and rate each; any scale)",
        where="Section 4",
        check=search_closes_gap(BY_CONNECTION, T2_10["s2s"]),
        beside=("table2",),
    ),
    Claim(
        name="s2m-stays-behind",
        says="A good setting of S2M is harder to find (here: after such a search, S2S is still the more accurate)",
        where="Section 4",
        check=stays_behind(BY_CONNECTION, T2_10["s2s"]),
        beside=("table2",),
    ),
    Claim(
        name="gradient-s2s",
        says="More of the gradient reaches the first layers through S2S, whose skips meet no surrogate, than through "
        "S2M (here: log10 of its norm after the first layer over that after the last block)",
        where="Section 3.2.1, Eqs. 9 and 11",
        check=greater((F3["s2s"], F3["s2m"]), measure=REACH),
    ),
    Claim(
        name="gradient-v2v",
        says="Through V2V, the surrogate takes less of the gradient than through S2M (measured likewise)",
        where="Section 3.2.1, Eqs. 9 and 17",
        check=greater((F3["v2v"], F3["s2m"]), measure=REACH),
    ),
    Claim(
        name="gamma-localises",
        says="BNTT's gamma localises a layer's activity in time (here: over the steps, activity follows gamma; the "
        "first step, where membranes are empty, is among them)",
        where="Section 4, Fig. 3",
        check=gamma_localises(F3["vgg"], *RESIDUAL),
    ),
    Claim(
        name="more-layers-active",
        says="In the S-ResNets, more layers are active at each step than in VGG11 (here: their layers' own spikes are "
        "spread over more of the steps; 1 is evenly)",
        where="Section 4, Fig. 3",
        check=greater(*((pick, F3["vgg"]) for pick in RESIDUAL), measure=EVENNESS),
    ),
    Claim(
        name="gamma-more-in-s2m",
        says="The effect of gamma shows more in S2M than in V2V and S2S (here: V2V and S2S are spread over more of the "
        "steps)",
        where="Section 4, Fig. 3",
        check=greater((F3["v2v"], F3["s2m"]), (F3["s2s"], F3["s2m"]), measure=EVENNESS),
    ),
    Claim(
        name="deeper-layers-active",
        says="Residual connections bring more spikes to the deeper layers than VGG11 has there (here: percent of "
        "neurons that fire, last third of the layers)",
        where="Section 4, Fig. 3",
        check=greater(*((pick, F3["vgg"]) for pick in RESIDUAL), measure=DEEP_ACTIVITY),
    ),
    Claim(
        name="stripes",
        says="Activity maps are striped, as connections join at every second layer (here: joins send more spikes per "
        "neuron and step than the layers between; S2S in stage 1, where its sums are whole numbers)",
        where="Section 4, Fig. 3",
        check=striped(*RESIDUAL),
    ),
    Claim(
        name="own-stripes-s2s",
        says="The same of S2S, if it is meant of the neurons' own spikes (here: all blocks, no sum counted)",
        where="Section 4, Fig. 3",
        check=striped(F3["s2s"], own=True),
    ),
    Claim(
        name="jumps",
        says="Activity changes most where the image size changes and the skip has a 1x1 convolution, layers 14 and 26 "
        "of 38 (here: from join to join, against the other joins; S2M and V2V, which send their own spikes)",
        where="Section 4, Fig. 3",
        check=jumps(F3["s2m"], F3["v2v"]),
    ),
    Claim(
        name="spikes-s2s",
        says="S2S sends more spikes than V2V and S2M, as its sums are several spikes (here: per image, from stem and "
        "stage 1, where sums are whole numbers)",
        where="Section 4, Fig. 3",
        check=greater((F3["s2s"], F3["v2v"]), (F3["s2s"], F3["s2m"]), measure=STAGE1_SPIKES),
    ),
    Claim(
        name="own-spikes-s2s",
        says="The same, if it is meant of the neurons' own spikes (here: per image, all layers, no sum counted twice)",
        where="Section 4, Fig. 3",
        check=greater((F3["s2s"], F3["v2v"]), (F3["s2s"], F3["s2m"]), measure=SPIKES),
    ),
    Claim(
        name="depth-helps",
        says="With residual connections, accuracy grows from 20 to 38 layers",
        where="Section 4, Table 3",
        check=greater((T3["middle"], T3["shallow"])),
    ),
    Claim(
        name="depth-saturates",
        says=f"It stays roughly the same from 38 to 44 layers (here: within {CLOSE:g} point)",
        where="Section 4, Table 3",
        check=close((T3["deep"], T3["middle"]), margin=CLOSE),
    ),
    Claim(
        name="plain-depth-hurts",
        says="Without residual connections, accuracy falls when a network gets too deep (here: 44 layers against 20)",
        where="Sections 2.3 and 4",
        check=greater((PLAIN["d20"], PLAIN["d44"])),
    ),
    Claim(
        name="residual-beats-plain",
        says="Deep networks with residual connections are more accurate than without",
        where="Sections 2.3 and 4, Table 3",
        check=greater((T3["middle"], PLAIN["d38"]), (T3["deep"], PLAIN["d44"])),
    ),
    Claim(
        name="image-beats-poisson",
        says="The image itself as input gives a better result than Poisson spikes",
        where="Section 4, Table 4",
        check=greater((cells.T4["image"], cells.T4["poisson"])),
    ),
    Claim(
        name="bntt-beats-averaged",
        says="BNTT outperforms batch norm with statistics averaged over time",
        where="Section 4, Table 5",
        check=greater((cells.T5["bntt"], cells.T5["averaged"])),
    ),
    Claim(
        name="wider",
        says="Networks of 32 base filters, trained for 70 epochs, are more accurate than those of 16, trained for 200",
        where="Tables 6 and 7",
        check=greater((T6["wide"], T6["narrow"]), (T7["wide"], T7["narrow"])),
    ),
    Claim(
        name="wider-equal-epochs",
        says="Wider networks are more accurate after equally many epochs, spiking or not",
        where="Table 15",
        check=greater((T15["wide_snn"], T15["snn"]), (T15["wide_ann"], T15["ann"])),
    ),
    Claim(
        name="boosting-helps-cifar10",
        says="Boosting improves accuracy on CIFAR-10",
        where="Section 4, Table 7",
        check=greater((T7["narrow_boosted"], T7["narrow"]), (T7["wide_boosted"], T7["wide"])),
    ),
    Claim(
        name="boosting-hurts-cifar100",
        says="Boosting is detrimental on CIFAR-100",
        where="Section 4, Table 6",
        check=greater((T6["narrow"], T6["narrow_boosted"]), (T6["wide"], T6["wide_boosted"])),
    ),
    Claim(
        name="lif-beats-plif",
        says="One leak from a search gives more than a leak learned in each layer",
        where="Section 4, Table 8",
        check=greater((cells.T8["lif"], cells.T8["plif"])),
    ),
    Claim(
        name="lif-beats-shared-plif",
        says="One leak from a search gives more than one learned leak",
        where="Section 4, Table 10",
        check=greater((cells.T10["lif"], cells.T10["plif"])),
    ),
    Claim(
        name="learned-leak-is-slower",
        says="The learned leak is slower, closer to 1, than that of the search",
        where="Section 4, Table 9",
        check=slower_leak(cells.T9["search"], cells.T9["learned"]),
    ),
    Claim(
        name="pretraining-helps-events",
        says="Pre-training on CIFAR-100 raises accuracy on DVS-CIFAR10",
        where="Section 4, Table 11",
        check=greater((T11["tuned"], T11["scratch"]), (T11["wide_tuned"], T11["wide_scratch"])),
    ),
    Claim(
        name="pretraining-helps-cifar10",
        says="Pre-training on CIFAR-100 raises accuracy on CIFAR-10 for the network of 16 filters",
        where="Section 4, Table 12",
        check=greater((T12["tuned"], T12["scratch"])),
    ),
    Claim(
        name="pretraining-not-for-wide",
        says="It does not for the larger network with boosting",
        where="Section 4, Table 12",
        check=greater((T12["wide_scratch"], T12["wide_tuned"])),
    ),
    Claim(
        name="pretraining-is-faster",
        says="Training that starts from CIFAR-100 converges faster",
        where="Section 4, Tables 11 and 12",
        check=converges_faster(
            (T11["tuned"], T11["scratch"]),
            (T11["wide_tuned"], T11["wide_scratch"]),
            (T12["tuned"], T12["scratch"]),
            (T12["wide_tuned"], T12["wide_scratch"]),
        ),
    ),
    Claim(
        name="events-64",
        says="Event frames of 64x64 pixels give the best accuracy, before 32x32 and 128x128",
        where="Section 4, Table 13",
        check=greater((T13["s64"], T13["s32"]), (T13["s64"], T13["s128"])),
    ),
    Claim(
        name="first-on-cifar10",
        says="S-ResNet38 is more accurate on CIFAR-10 than all earlier spiking networks, converted ones included",
        where="Section 5.1, Table 14",
        check=most_accurate(cells.T14_10, "CIFAR-10"),
    ),
    Claim(
        name="first-on-cifar100",
        says="The same on CIFAR-100",
        where="Section 5.1, Table 14",
        check=most_accurate(cells.T14_100, "CIFAR-100"),
    ),
    Claim(
        name="near-the-ann",
        says=f"The network is not far from its ANN counterpart (here: at most {CLOSE:g} point less accurate)",
        where="Section 5.1, Table 15",
        check=greater((T15["snn"], T15["ann"]), (T15["wide_snn"], T15["wide_ann"]), margin=CLOSE),
    ),
    Claim(
        name="fewest-parameters",
        says="It has fewer parameters than the other trained networks on the same data",
        where="Section 5.1, Figs. 4 to 6",
        check=Check((), fewest_parameters),
    ),
    Claim(
        name="more-steps",
        says="Accuracy does not fall with more time steps at inference",
        where="Sections 3.5 and 5.2, Table 16",
        check=never_falls(
            tuple(T16_100[name] for name in cells.RISING),
            tuple(T16_10[name] for name in cells.RISING),
        ),
    ),
    Claim(
        name="early-stop-keeps-most",
        says=f"Networks keep most of their accuracy when steps are dropped (here: {100 * KEPT:g} % of it at 30 of "
        "50 steps)",
        where="Section 5.2, Table 16",
        check=keeps(KEPT, (T16_100["s30of50"], T16_100["s50of50"]), (T16_10["s30of50"], T16_10["s50of50"])),
    ),
    Claim(
        name="twenty-steps-cifar100",
        says="At 20 steps, the CIFAR-100 network trained with 20 is better than the one trained with 50",
        where="Section 5.2, Table 16",
        check=greater((T16_100["s20of20"], T16_100["s20of50"])),
    ),
    Claim(
        name="twenty-steps-cifar10",
        says="At 20 steps, the CIFAR-10 network trained with 50 is better (the paper: by a close margin)",
        where="Section 5.2, Table 16",
        check=greater((T16_10["s20of50"], T16_10["s20of20"])),
    ),
    Claim(
        name="ten-steps",
        says="At 10 steps, networks trained with 20 are better than networks trained with 50",
        where="Section 5.2, Table 16",
        check=greater((T16_100["s10of20"], T16_100["s10of50"]), (T16_10["s10of20"], T16_10["s10of50"])),
    ),
    Claim(
        name="leak-for-the-steps",
        says="At 20 steps, a leak learned for 20 steps is better than the one found for 50, however many it is trained "
        "with",
        where="Section 5.2, Table 17",
        check=greater((T17["learned"], T17["fixed"]), (T17["learned"], T17["cut"])),
    ),
    Claim(
        name="leak-depends-on-steps",
        says="The best leak depends on the time steps: for fewer, it is higher, closer to 1 (the paper: 0.995 for 20, "
        "0.874 for 50; here: mean leak of the six best trials of a search each, T = 2 against T = 8; any scale)",
        where="Section 5.2, Table 17",
        check=falls_with_steps(BY_STEPS),
        beside=("table17",),
    ),
)
"""In the order of the paper."""
