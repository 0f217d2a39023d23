"""Random changes of clips: what they keep, what they do, and that draws decide it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sresnet.data import EventConfig
from sresnet.data.augmentation import augmented, numbers_of, training_batch
from sresnet.data.events.changes import ChangeConfig, change_clips, draw_mixing, mix_clips, soft_labels
from sresnet.data.events.frames import FrameConfig
from sresnet.errors import UserError
from sresnet.processes import Part

CHANGES = {
    "polarity": {"polarity": 0.5},
    "reverse": {"reverse": 0.5},
    "crop": {"crop": 0.5},
    "nda": {"nda": True},
    "any": {"drop": "any"},
    "events": {"drop": "events"},
    "time": {"drop": "time"},
    "area": {"drop": "area"},
    "space": {"space_jitter": 1.5},
    "step": {"time_jitter": 0.8},
    "all": {"polarity": 0.5, "crop": 0.5, "nda": True, "drop": "any", "space_jitter": 1.0, "time_jitter": 1.0},
}


@st.composite
def clips(draw):
    shape = (draw(st.integers(1, 5)), draw(st.integers(1, 6)), 2, draw(st.integers(1, 9)), draw(st.integers(1, 7)))
    dtype = draw(st.sampled_from([torch.uint8, torch.int32]))
    largest = draw(st.sampled_from([1, 3, 255 if dtype == torch.uint8 else 1000]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 30)))
    counts = torch.randint(0, largest + 1, shape, generator=generator)
    return (counts * (torch.rand(shape, generator=generator) < 0.4)).to(dtype)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", CHANGES)
@given(x=clips(), seed=st.integers(0, 1 << 20))
@settings(max_examples=25, deadline=None)
def test_shape_type_and_draws(name, x, seed):
    """The same draws do the same; the clips that were given stay; each clip's change is its own."""
    before = x.clone()
    config = EventConfig(changes=ChangeConfig(**CHANGES[name]))
    out = augmented(x, config, seed, 4)
    assert (out.shape, out.dtype) == (x.shape, x.dtype)
    assert torch.equal(x, before)
    assert torch.equal(out, augmented(x, config, seed, 4))
    assert int(out.min()) >= 0
    for place in range(len(x)):
        part = augmented(x[place : place + 1], config, seed, 4, Part(place, place + 1, len(x)))
        assert torch.equal(part, out[place : place + 1])


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_does_something_to_some_clips_and_other_draws_do_another(name):
    x = torch.randint(0, 4, (24, 5, 2, 9, 8), generator=generator()).to(torch.uint8)
    config = EventConfig(changes=ChangeConfig(**CHANGES[name]))
    out = augmented(x, config, 0, 4)
    assert not torch.equal(out, x)
    assert not torch.equal(out, augmented(x, config, 0, 5))
    assert torch.equal(augmented(x, EventConfig(), 0, 4), x)
    assert numbers_of(x.shape, config, 0, 4) is None


@given(x=clips(), seed=st.integers(0, 1 << 20))
@settings(max_examples=40, deadline=None)
def test_flips_of_polarity_and_time_keep_all_events(x, seed):
    swapped = change_clips(x, ChangeConfig(polarity=1.0), generator(seed))
    assert torch.equal(swapped[:, :, 0], x[:, :, 1])
    assert torch.equal(swapped[:, :, 1], x[:, :, 0])
    back = change_clips(x, ChangeConfig(reverse=1.0), generator(seed))
    for step in range(x.shape[1]):
        assert torch.equal(back[:, step, 0], x[:, -1 - step, 1])
    assert torch.equal(change_clips(back, ChangeConfig(reverse=1.0), generator(seed)), x)
    half = change_clips(x, ChangeConfig(polarity=0.5), generator(seed))
    assert all(torch.equal(a, b) or torch.equal(a, b.flip(1)) for a, b in zip(half, x, strict=True))


@pytest.mark.parametrize("drop", ["any", "events", "time", "area"])
@given(x=clips(), seed=st.integers(0, 1 << 20))
@settings(max_examples=25, deadline=None)
def test_dropped_events_are_taken_from_those_that_were_there(drop, x, seed):
    out = change_clips(x, ChangeConfig(drop=drop), generator(seed))
    assert bool((out <= x).all())
    for old, new in zip(x, out, strict=True):
        gone = new != old
        if drop == "time":
            steps = gone.flatten(1).any(1)
            assert not new[steps].any()
            (where,) = np.nonzero(steps.numpy())
            assert all(not old[step].any() or steps[step] for step in range(*where[[0, -1]])) if len(where) else True
        if drop == "area":
            assert not new[gone].any()


def test_thinning_is_binomial():
    x = torch.full((400, 1, 2, 5, 5), 200, dtype=torch.uint8)
    out = change_clips(x, ChangeConfig(drop="events"), generator(1)).double().flatten(1)
    shares = (out.mean(1) / 200).round(decimals=1)
    assert sorted(set(shares.tolist())) == pytest.approx([each / 10 for each in range(1, 10)])
    for share in set(shares.tolist()):
        counts = out[shares == share].flatten()
        assert float(counts.mean()) == pytest.approx(200 * share, abs=1)
        assert float(counts.var()) == pytest.approx(200 * share * (1 - share), rel=0.15)


@pytest.mark.parametrize("steps", [1, 2, 4, 5])
def test_eventdrop_over_time_leaves_a_step_of_a_short_clip(steps):
    x = torch.ones(400, steps, 2, 3, 3, dtype=torch.uint8)
    left = change_clips(x, ChangeConfig(drop="time"), generator(7)).flatten(2).any(2)
    assert left.any(1).all()
    if steps > 1:
        assert not left.all(1).all()
        alone = left[left.sum(1) == 1]
        assert alone[:, 0].any()
        assert alone[:, -1].any()


def test_published_choices_of_eventdrop_are_as_likely():
    x = torch.ones(800, 20, 2, 20, 20, dtype=torch.uint8)
    out = change_clips(x, ChangeConfig(drop="any"), generator(2)).bool()
    untouched = out.flatten(1).all(1)
    whole_steps = ~untouched & (out.flatten(2).all(2) | ~out.flatten(2).any(2)).all(1)
    area = ~untouched & ~whole_steps & (out == out[:, :1]).flatten(1).all(1)
    events = ~untouched & ~whole_steps & ~area
    for each in (untouched, whole_steps, area, events):
        assert 150 < int(each.sum()) < 250
    assert set((~out[whole_steps]).flatten(2).any(2).sum(1).tolist()) <= {2, 4, 6, 8, 10, 12, 14, 16, 18}
    assert {1, 4, 9, 16, 25} == set((~out[area])[:, 0, 0].sum((1, 2)).tolist())


@given(
    x=clips(), seed=st.integers(0, 1 << 20), space=st.sampled_from([0.0, 0.6, 3.0]), time=st.sampled_from([0.0, 0.9])
)
@settings(max_examples=40, deadline=None)
def test_jitter_moves_events_and_loses_only_what_leaves(x, seed, space, time):
    config = ChangeConfig(space_jitter=space, time_jitter=time)
    out = change_clips(x, config, generator(seed))
    if not space:  # pixels keep what is not moved out of the clip
        assert bool((out.sum(1) <= x.sum(1)).all())
    if not time:
        assert bool((out.flatten(3).sum(3) <= x.flatten(3).sum(3)).all())
    padded = torch.nn.functional.pad(x, (20, 20, 20, 20, 0, 0, 9, 9))
    if int(x.max()) < 4:  # nothing leaves, and no count saturates
        kept = change_clips(padded, config, generator(seed))
        assert torch.equal(kept.sum((1, 3, 4)), padded.sum((1, 3, 4)))  # of each clip and polarity


def test_jitter_has_the_deviation_it_is_given():
    x = torch.zeros(1, 41, 2, 61, 61, dtype=torch.int32)
    x[0, 20, 1, 30, 30] = 40_000
    out = change_clips(x, ChangeConfig(space_jitter=4.0, time_jitter=2.0), generator(3))[0, :, 1].double()
    for axis, deviation in enumerate((2.0, 4.0, 4.0)):
        counts = out.sum([each for each in range(3) if each != axis])
        places = torch.arange(len(counts)) - len(counts) // 2
        assert float((counts * places).sum() / counts.sum()) == pytest.approx(0, abs=0.1)
        variance = float((counts * places**2).sum() / counts.sum())
        assert variance == pytest.approx(deviation**2 + 1 / 12, rel=0.03)  # rounding adds a twelfth


def test_events_that_meet_at_a_full_pixel_are_all_counted():
    x = torch.zeros(1, 9, 2, 1, 1, dtype=torch.uint8)
    x[0, 3:6] = 255
    found = [change_clips(x, ChangeConfig(time_jitter=0.4), generator(seed)) for seed in range(8)]
    assert max(int(out.max()) for out in found) > 255
    for out in found:
        assert out.dtype == (torch.int32 if int(out.max()) > 255 else torch.uint8)
        assert int(out.sum()) == int(x.sum())  # none is far enough from the middle to leave the clip


def test_a_crop_shows_a_part_of_the_frame_enlarged():
    rows = torch.arange(40).view(1, 1, 1, 40, 1).expand(300, 1, 2, 40, 40).to(torch.uint8)
    out = change_clips(rows, ChangeConfig(crop=0.5), generator(4))[:, 0, 0, :, 0].int()
    spans = out[:, -1] - out[:, 0] + 1
    assert int(spans.min()) in (20, 21)
    assert int(spans.max()) in (39, 40)
    assert bool((out.diff(dim=1) >= 0).all())
    assert bool((out.diff(dim=1) <= 1).all())
    assert int(out[:, 0].max()) > 10
    whole = change_clips(rows, ChangeConfig(crop=1.0), generator(4))
    assert torch.equal(whole, rows)


def test_the_four_changes_of_nda():
    x = torch.zeros(400, 1, 2, 48, 48, dtype=torch.uint8)
    x[:, :, :, 23:25] = 1  # two rows from edge to edge
    out = change_clips(x, ChangeConfig(nda=True), generator(5))[:, 0, 0]
    full = out.sum(2) == 48
    level = out.sum((1, 2)) == 96
    moved = full.int().argmax(1)
    rolled = level & (full.sum(1) == 2)
    assert set(moved[rolled].tolist()) == set(range(18, 29))  # up to five rows; sheared rows stay where they are
    slopes = [np.polyfit(*np.nonzero(each.numpy())[::-1], 1)[0] for each in out[~level & (full.sum(1) == 0)]]
    degrees = np.degrees(np.arctan(slopes))
    assert 20 < max(np.abs(degrees)) < 31


def test_sheared_columns_lean_by_up_to_30_degrees():
    x = torch.zeros(400, 1, 2, 48, 48, dtype=torch.uint8)
    x[:, :, :, :, 24] = 1
    out = change_clips(x, ChangeConfig(nda=True), generator(6))[:, 0, 0]
    single = (out.sum(2) == 1).all(1)  # a pixel in each row: rolled, sheared, or cut elsewhere
    columns = out[single].argmax(2).double()
    slopes = (columns[:, -1] - columns[:, 0]) / 47
    assert 0.45 < float(slopes.abs().max()) <= np.tan(np.radians(30)) + 0.03
    assert int((slopes != 0).sum()) > 50


@given(x=clips(), seed=st.integers(0, 1 << 20), alpha=st.sampled_from([0.05, 1.0, 8.0]))
@settings(max_examples=40, deadline=None)
def test_mixed_clips_are_of_both_and_so_are_their_classes(x, seed, alpha):
    config = ChangeConfig(mix="mixup", mix_alpha=alpha)
    mixing = draw_mixing(len(x), config, seed)
    assert sorted(mixing.partner.tolist()) == list(range(len(x)))
    others = x[mixing.partner]
    out, share = mix_clips(x, others, config, mixing)
    assert torch.equal(share, mixing.share)
    sums = share * x.flatten(1).sum(1) + (1 - share) * others.flatten(1).sum(1)
    torch.testing.assert_close(out.flatten(1).sum(1), sums, rtol=1e-4, atol=1e-2)

    config = ChangeConfig(mix="eventmix", mix_alpha=alpha)
    out, share = mix_clips(x, others, config, mixing)
    assert out.dtype == x.dtype
    assert bool(((out == x) | (out == others)).all())
    for mix, own, other, lam, place_share in zip(out, x, others, share.tolist(), mixing.share.tolist(), strict=True):
        total, both = int(mix.sum()), (own == other).all(1)
        surely_own = int((mix * (mix != other)).sum())
        surely_other = int((mix * (mix != own)).sum())
        if total:
            assert surely_own / total - 1e-6 <= lam <= 1 - surely_other / total + 1e-6
        else:
            assert lam == pytest.approx(place_share)
        assert both.dtype == torch.bool


def test_eventmix_divides_space_and_time_by_the_share_that_was_drawn():
    config = ChangeConfig(mix="eventmix", mix_alpha=1.0)
    x = torch.ones(80, 6, 2, 10, 12, dtype=torch.uint8)
    others = 2 * x
    mixing = draw_mixing(80, config, 1)
    out, share = mix_clips(x, others, config, mixing)
    mask = out == 1
    assert torch.equal(mask[:, :, 0], mask[:, :, 1])  # both polarities of a place are of one clip
    places = mask[:, :, 0].flatten(1).double().mean(1)
    torch.testing.assert_close(places, mixing.share.double(), rtol=0, atol=0.5 / 720 + 1e-6)
    torch.testing.assert_close(share.double(), places / (places + 2 * (1 - places)), rtol=1e-5, atol=1e-6)
    assert int((mask != mask[:, :1]).flatten(1).any(1).sum()) > 60  # most masks change with time
    assert len({tuple(each.flatten().tolist()) for each in mask}) == 80
    often = mask[:, :, 0].double().mean(0)  # no place is always of one clip
    assert 0.15 < float(often.min()) < float(often.max()) < 0.85
    near = (mask[..., 1:] == mask[..., :-1]).double().mean()  # regions, not single places
    assert near > 0.9


def test_shares_of_classes():
    found = soft_labels(torch.tensor([0, 2]), torch.tensor([1, 2]), torch.tensor([0.25, 0.4]), 3)
    torch.testing.assert_close(found, torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.0, 1.0]]))


@pytest.mark.parametrize(
    "fields",
    [
        {"polarity": 1.5},
        {"reverse": -0.1},
        {"crop": 0.05},
        {"space_jitter": -1.0},
        {"time_jitter": 1e4},
        {"mix_alpha": 0.0},
    ],
    ids=str,
)
def test_fields_out_of_range(fields):
    with pytest.raises(UserError, match=next(iter(fields))):
        ChangeConfig(**fields)


def test_other_changes_are_of_all_representations():
    x = torch.rand(16, 4, 2, 8, 8)
    given = {"polarity": 0.5, "crop": 0.7, "nda": True}
    for representation in ("voxel", "surface"):
        for mix in ("mixup", "eventmix"):
            frames = FrameConfig(representation=representation)
            config = EventConfig(frames=frames, changes=ChangeConfig(**given, mix=mix))
            labels = torch.arange(16) % 3
            out, target = training_batch(lambda some: x[some], labels, torch.arange(16), config, 3, 0, 0)
            assert out.dtype == torch.float32
            assert not torch.equal(out, x)
            torch.testing.assert_close(target.sum(1), torch.ones(16))


def test_single_events_need_counts():
    with pytest.raises(UserError, match="no counts"):
        change_clips(torch.rand(1, 2, 2, 3, 3), ChangeConfig(time_jitter=1.0), generator())
