from vivace.core.seeds import mix_seed


def test_seeds_depend_on_every_part_and_on_their_order():
    seeds = {mix_seed(a, b) for a in range(40) for b in range(40)}
    assert len(seeds) == 1600
    assert mix_seed(1, 2) != mix_seed(2, 1)
    assert all(0 <= seed < 2**63 for seed in seeds)
