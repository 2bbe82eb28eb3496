"""Parsing and printing of programs, and the errors of invalid texts."""

import pytest

from lopt.search import Program, ProgramError, Statement, Type, parse, published, types_of

TEXTS = {name: text for name, text in vars(published).items() if name.isupper()}


@pytest.mark.parametrize("name", TEXTS)
def test_published_programs_are_parsed_and_printed(name):
    program = parse(TEXTS[name])
    assert parse(program.text()) == program == parse(str(program))
    assert len({program, parse(program.text())}) == 1
    assert types_of(program)[-1] in (Type.T, Type.S)


def test_lines_of_a_single_call_are_printed_as_written():
    for text in (published.ADAMW, published.LION, published.LION_PRUNED):
        lines = [line for line in text.splitlines() if "sqrt(v)" not in line]
        printed = parse(text).text().splitlines()
        assert all(line in printed for line in lines)


def test_nested_expressions_become_statements_in_order():
    program = parse(
        "def train(w, g, m, lr):\n    t1 = -m\n    m += (g - 0.5) / -2\n    return lr * interp(g, t1, 0.9), m"
    )
    assert program == Program(
        ("m",),
        (
            Statement("t1", "negative", ("m",)),
            Statement("t2", "subtract", ("g", 0.5)),
            Statement("t3", "divide", ("t2", -2.0)),
            Statement("m", "add", ("m", "t3")),
            Statement("t4", "interpolate", ("g", "t1", 0.9)),
            Statement("t5", "multiply", ("lr", "t4")),
        ),
        ("t5", "m"),
    )


def test_names_annotations_comments_and_copies():
    program = parse(
        '''
        def train(weight: Tree, gradient, momentum, rate):
            """Lion with the names of its paper."""
            beta1 = 0.9  # a copy becomes a product with one
            old = momentum
            update = clip_by_global_norm(interpolate(gradient, old, beta1), get_pi())
            return update, momentum
        '''
    )
    assert program.parameters == ("weight", "gradient", "momentum", "rate")
    assert program.inputs == ("weight", "gradient") and program.rate == "rate"
    assert program.statements[:2] == (
        Statement("beta1", "multiply", (0.9, 1.0)),
        Statement("old", "multiply", ("momentum", 1.0)),
    )
    assert parse(program.text()) == program


def test_other_numbers_of_inputs():
    program = parse("def drift(r, A, lr): return relu(r * A)".replace("relu", "tanh"), num_inputs=2)
    assert program.inputs == ("r", "A")
    assert parse("def f(x, lr): return x + x", num_inputs=1).inputs == ("x",)


INVALID = {
    "def train(w, g, lr):\n    u = sgn(g)\n    return u": (2, 9, "did you mean 'sign'"),
    "def train(w, g, lr):\n    u = g + interpolat(g, w, lr)\n    return u": (2, 13, "'interpolate'"),
    "def train(w, g, mom, lr):\n    return g * mon, mom": (2, 16, "did you mean 'mom'"),
    "def train(w, g, lr):\n    return u": (2, 12, "'u' is not bound"),
    "def train(w, g, lr):\n    u = clip(g)\n    return u": (2, 9, "takes 2 arguments"),
    "def train(w, g, lr):\n    u = exp()\n    return u": (2, 9, "takes 1 argument "),
    "def train(w, g, lr):\n    u = norm(norm(g))\n    return u": (2, 9, "types L"),
    "def train(w, g, lr):\n    u = g\n    u = interp(g, w, g)\n    return u": (3, 9, "types TTT"),
    "def train(w, g, lr):\n    u = power(g, 2)\n    return u": (2, 9, "expected SS"),
    "def train(w, g, lr):\n    return lr": (2, 12, "must be a tree"),
    "def train(w, g, lr):\n    return 0.5": (2, 12, "scalar"),
    "def train(w, g, lr):\n    u = g": (2, 5, "must return"),
    "def train(w, g, lr):\n    return": (2, 5, "must return"),
    "def train(w, g, m, lr):\n    return g": (1, 1, "3 parameters"),
    "def train(w, g, w, lr):\n    return g, g": (1, 1, "different names"),
    "def train(w, g, lr=1.0):\n    return g": (1, 1, "must be positional"),
    "def train(w, g, *m):\n    return g, g": (1, 1, "must be positional"),
    "def train(w, g, lr):\n    a, b = g, w\n    return a": (2, 5, "one name"),
    "def train(w, g, lr):\n    if g:\n        u = g\n    return g": (2, 5, "If"),
    "def train(w, g, lr):\n    __import__('os')\n    return g": (2, 5, "Expr"),
    "def train(w, g, lr):\n    u = __import__('os')\n    return g": (2, 9, "no function"),
    "def train(w, g, lr):\n    u = g.real\n    return g": (2, 9, "Attribute"),
    "def train(w, g, lr):\n    u = g.sum()\n    return g": (2, 9, "a function's name"),
    "def train(w, g, lr):\n    u = exp(x=g)\n    return g": (2, 9, "positional arguments"),
    "def train(w, g, lr):\n    u = exp(*g)\n    return g": (2, 13, "Starred"),
    "def train(w, g, lr):\n    u = g ** 2\n    return g": (2, 9, "Pow"),
    "def train(w, g, lr):\n    u = g * True\n    return g": (2, 13, "Constant"),
    "def train(w, g, lr):\n    u = g * 1e999\n    return g": (2, 13, "finite"),
    "def train(w, g, lr):\n    u = g *\n    return g": (2, 12, "invalid syntax"),
    "u = 1": (1, 1, "one function"),
    "": (1, 1, "one function"),
    "def train(w, g, lr): return g\nu = 1": (2, 1, "one function"),
    "def train(w, g, lr): return g" + " " * 100_000: (1, 1, "the text is too long"),
    f"def train(w, g, lr):\n    {'u' * 101} = g\n    return g": (
        2,
        5,
        "a name has 101 characters, expected 100 at most",
    ),
    "def train(w, g, lr): return " + "(" * 500 + "g" + ")" * 500: (1, None, ""),
    "def train(w, g, lr): return " + "-" * 50_000 + "g": (1, None, ""),
    "def train(w, g, lr): return " + "+".join(["g"] * 3_000): (1, None, ""),
}


@pytest.mark.parametrize("text", INVALID, ids=lambda text: text[-40:].encode("unicode_escape").decode())
def test_errors_have_the_position_and_the_reason(text):
    line, column, message = INVALID[text]
    with pytest.raises(ValueError, match="program, line") as caught:
        parse(text)
    assert isinstance(caught.value, ProgramError) and message in str(caught.value)
    assert caught.value.line == line and (column is None or caught.value.column == column)


def test_columns_refer_to_the_indented_text():
    with pytest.raises(ProgramError) as caught:
        parse("\n    def train(w, g, lr):\n        return u\n")
    assert (caught.value.line, caught.value.column) == (3, 16)


def test_long_programs_are_read():
    """3,000 lines of nested calls, each of which needs new names."""
    lines = [f"    a{i} = sign(exp(g)) * w" for i in range(3_000)]
    program = parse("\n".join(["def train(w, g, lr):", *lines, "    return a7"]))
    assert len(program.statements) == 9_000 and len({s.target for s in program.statements}) == 9_000


def build(*statements, outputs=("g",), **kwargs):
    return Program((), tuple(Statement(*s) for s in statements), outputs, **kwargs)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (build(("u", "exq", ("g",))), "statement 0.*'exp'"),
        (build(("u", "exp", ("v",))), "'v' is not bound"),
        (build(("u", "exp", (float("nan"),))), "finite"),
        (build(("u", "add", ("g",))), "takes 2"),
        (build(("a b", "exp", ("g",))), "not a name"),
        (build(("lambda", "exp", ("g",))), "not a name"),
        (build(outputs=("g", "g")), "0 extra"),
        (build(outputs=("lr",)), "must be a tree"),
        (build(outputs=("u",)), "'u' is not bound"),
        (build(inputs=("g", "g")), "different names"),
    ],
)
def test_invalid_programs_fail_the_type_check(program, message):
    with pytest.raises(ValueError, match=message):
        types_of(program)
