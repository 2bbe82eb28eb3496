"""Rule files of programs: exact round trips, loading as an optimizer, readable cards, errors."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

import lopt
from lopt.rules import Card, load_program, load_rule, save_program, save_rule
from lopt.search import Program, Statement, constants_of, parse, published
from tests.reference.cards import edit

TEXTS = [text for name, text in vars(published).items() if name.isupper()]


@pytest.mark.parametrize("text", [*TEXTS, "def train(w, g, lr): return g * lr"])
def test_round_trip_is_exact(tmp_path, text):
    program = parse(text)
    save_program(tmp_path / "rule", program)
    assert load_program(tmp_path / "rule") == program
    assert load_rule(tmp_path / "rule").theta == constants_of(program)


def test_a_saved_program_as_an_optimizer(tmp_path):
    save_program(
        tmp_path / "rule", parse(published.LION), command="python -m experiments.search", metrics={"loss": 0.5}
    )
    program = load_program(tmp_path / "rule.json")
    tx = lopt.from_program(program, 1.0)
    updates, _ = tx.update(jnp.ones(3), tx.init(jnp.zeros(3)), jnp.zeros(3))
    np.testing.assert_allclose(updates, -1e-4, rtol=1e-6)


def test_the_card_is_human_readable(tmp_path):
    card = json.loads(save_program(tmp_path / "rule", parse(published.LION), seed=3, notes="by hand").read_text())
    assert card["config"] == {"program": published.LION, "num_inputs": 2}
    assert card["kind"] == "lopt.search.Program" and card["seed"] == 3 and card["notes"] == "by hand"


def test_round_trip_of_an_expression_of_one_input(tmp_path):
    program = parse("def drift(r, lr): return square(log(r))", num_inputs=1)
    save_program(tmp_path / "rule", program)
    assert load_program(tmp_path / "rule") == program


def test_invalid_programs_and_files_are_errors(tmp_path):
    with pytest.raises(ValueError, match="'x' is not bound"):
        save_program(tmp_path / "rule", Program((), (Statement("u", "exp", ("x",)),), ("u",)))
    save_rule(tmp_path / "other", np.ones(3), Card("lopt.LPG"))
    with pytest.raises(ValueError, match="no program .*lopt.LPG"):
        load_program(tmp_path / "other")
    path = save_program(tmp_path / "rule", parse(published.LION))
    for old, new, message in (("0.99)", "0.98)", "other constants"), ("sign(c)", "sgn(c)", "did you mean 'sign'")):
        config = json.loads(path.read_text())["config"]
        edit(path, config=config | {"program": config["program"].replace(old, new)})
        with pytest.raises(ValueError, match=message):
            load_program(path)
        edit(path, config=config)
