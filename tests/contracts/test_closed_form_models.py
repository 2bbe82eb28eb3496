"""The laws of every in-context learner, for the one-layer models whose optimal weights have a closed form."""

import pytest

from lopt import incontext
from tests.contracts import test_sequence_model as contract

MODELS = {
    "one-step attention": lambda: incontext.OneStepAttention(**contract.SIZES, scale=0.5),
    "Transformer with one token per example": lambda: incontext.Paired(
        contract.INPUTS,
        incontext.Transformer(
            inputs=2 * contract.INPUTS,
            targets=contract.TARGETS,
            outputs=contract.OUTPUTS,
            positions=6,
            width=8,
            heads=2,
        ),
    ),
    "mesa-layer": lambda: incontext.MesaLayer(**contract.SIZES, heads=2, key_size=4, value_size=3),
}
contract.MODELS |= MODELS
for_models = pytest.mark.parametrize("name", MODELS)
LAWS = [law for name, law in vars(contract).items() if name.startswith("test_")]


@for_models
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.removeprefix("test_"))
def test_law(law, name, monkeypatch):
    law(name, monkeypatch) if "monkeypatch" in law.__code__.co_varnames[: law.__code__.co_argcount] else law(name)
