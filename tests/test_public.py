"""The names that users write after `lopt.`."""

import importlib

import pytest

import lopt


@pytest.mark.parametrize("name", lopt.__all__)
def test_every_public_name_is_there(name):
    assert getattr(lopt, name) is not None
    assert name in dir(lopt)


def test_optimizers_are_the_same_from_both_sides():
    optimizers = importlib.import_module("lopt.optimizers")
    for name in ("lion", "scale_by_lion", "lion_k", "scale_by_lion_k", "cautious", "kkt_gap"):
        assert getattr(lopt, name) is getattr(optimizers, name)
    assert sorted(optimizers.__all__) == sorted({*optimizers.__all__} & {*dir(optimizers)})


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'tiger'"):
        _ = lopt.tiger
