"""The public names of the package `lopt`."""

import importlib

import pytest

import lopt


@pytest.mark.parametrize("name", lopt.__all__)
def test_every_public_name_can_be_imported(name):
    assert getattr(lopt, name) is not None
    assert name in dir(lopt)


def test_top_level_optimizers_are_those_of_lopt_optimizers():
    optimizers = importlib.import_module("lopt.optimizers")
    for name in ("lion", "scale_by_lion", "lion_k", "scale_by_lion_k", "cautious", "kkt_gap"):
        assert getattr(lopt, name) is getattr(optimizers, name)
    assert sorted(optimizers.__all__) == sorted({*optimizers.__all__} & {*dir(optimizers)})


def test_an_unknown_name_raises_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'tiger'"):
        _ = lopt.tiger
