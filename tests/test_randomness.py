from sresnet.randomness import order, seed_of


def test_seeds_and_orders_differ_in_every_part():
    assert seed_of("order", 0, 1) == seed_of("order", 0, 1)
    assert len({seed_of("order", 0, 1), seed_of("order", 1, 0), seed_of("augment", 0, 1), seed_of("order", 0, 2)}) == 4
    assert 0 <= seed_of("order", 0, 1) < 2**63
    assert sorted(order(9, 0, 1).tolist()) == list(range(9))
    assert len({tuple(order(9, seed, epoch).tolist()) for seed in (0, 1) for epoch in (0, 1)}) == 4
