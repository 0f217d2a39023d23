"""Studies of ours: what they share with the paper's tables and what they change."""

import dataclasses

from sresnet.config import to_dict
from sresnet.models import VGGConfig
from sresnet.studies.ours import OURS
from sresnet.train.recipes import RECIPES, paper


def test_names_are_those_of_the_studies():
    assert {name: study.name for name, study in OURS.items()} == {name: name for name in OURS}


def test_plain_networks_differ_from_table_3_by_the_connection_alone():
    for cell, depth in zip(OURS["depth-none"].cells, (20, 38, 44), strict=True):
        recipe = cell.training.recipe
        same = dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, connection="s2s"))
        assert same == paper("cifar10", depth=depth, base_filters=16)
        assert recipe != same
        assert str(depth) in cell.row


def test_figure_3_shares_its_s_resnets_with_table_2():
    vgg, *residual = OURS["figure3"].cells
    assert isinstance(vgg.training.recipe.model, VGGConfig)
    s2s = RECIPES["paper-cifar100"][1]
    assert residual[1].training.recipe == s2s
    assert [cell.training.recipe.model.connection for cell in residual] == ["s2m", "s2s", "v2v"]
    for cell in residual:
        assert dataclasses.replace(cell.training.recipe, model=s2s.model) == s2s
    # The network apart, the VGG11 is trained as they are, for as many classes and steps.
    assert dataclasses.replace(vgg.training.recipe, model=s2s.model) == s2s
    shared = to_dict(s2s.model).keys() & to_dict(vgg.training.recipe.model).keys() - {"family", "downsample"}
    for name in shared:
        assert to_dict(vgg.training.recipe.model)[name] == to_dict(s2s.model)[name], name


def test_nothing_here_has_a_value_of_the_paper():
    assert all(cell.paper is None for study in OURS.values() for cell in study.cells)
