"""Programs as formulas with nested expressions."""

import numpy as np

from lopt.search import canonical_hash, formula, parse, published, random_program


def test_formulas_parse_to_equal_programs():
    rng = np.random.default_rng(0)
    programs = [random_program(rng, 12, extras=("m", "x0")) for _ in range(20)]
    programs += [parse(published.ADAMW), parse(published.LION), parse("def f(w, g, lr): return w * (g - w)")]
    for program in programs:
        assert canonical_hash(parse(formula(program))) == canonical_hash(program)
    text = "def drift(r, A, t):\n    x0 = r - 1.0\n    return max((x0 * x0) * A, 0.0)\n"
    assert formula(parse(text), "drift") == text
