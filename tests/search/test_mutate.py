"""Mutation and random programs: every child is valid, every kind of change occurs as often as it should."""

import collections
import functools
import itertools
import pickle

import numpy as np
import pytest

from lopt.search import (
    FUNCTIONS,
    Mutation,
    Program,
    Statement,
    Type,
    normal,
    one,
    parse,
    published,
    random_program,
    rescale,
    tune,
    types_of,
)
from tests.reference.programs import descendants

CHILDREN = 3000
walk = functools.partial(descendants, CHILDREN)


def signatures(program):
    """The function and the types of the arguments of every statement; fails if the program is not valid."""
    bound = {name: Type.T for name in program.parameters} | {program.rate: Type.S}
    for s in program.statements:
        types = tuple(bound[arg] if isinstance(arg, str) else Type.S for arg in s.args)
        bound[s.target] = FUNCTIONS[s.function].signatures[types]
        yield s.function, types
    assert [bound[name] for name in program.outputs] == [Type.T] * (1 + len(program.extras))


def difference(parent, child):
    """What was done, and the place."""
    a, b = parent.statements, child.statements
    kind = {1: "insert", 0: "modify", -1: "delete"}[len(b) - len(a)]
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    same = a[at + (kind != "insert") :] == b[at + (kind != "delete") :]
    assert same and child.outputs == parent.outputs and child.extras == parent.extras
    return kind, at


def test_every_child_is_valid_and_differs_in_one_place():
    done = collections.Counter()
    for parent, child in itertools.pairwise(walk()):
        assert child != parent and len([*signatures(child)]) == len(child.statements)
        kind, at = difference(parent, child)
        done[kind] += 1
        if kind == "modify":
            old, new = parent.statements[at], child.statements[at]
            assert (old.target, old.function) == (new.target, new.function)
            assert sum(a != b for a, b in zip(old.args, new.args, strict=True)) == 1
    assert max(len(program.statements) for program in walk()) == 40
    assert min(done.values()) > CHILDREN / 5


def test_every_function_and_signature_is_reached():
    seen = {pair for program in walk() for pair in signatures(program)}
    assert {name for name, _ in seen} == {*FUNCTIONS} - {"invert"}
    assert ("interpolate", (Type.T, Type.T, Type.S)) in seen
    assert len(seen) > 120


def test_children_are_valid_to_those_who_check_programs():
    for child in walk()[::50]:
        assert len(types_of(child)) == len(child.statements)
        assert parse(child.text()) == child


def test_the_same_generator_gives_the_same_children():
    for mutation in (Mutation(), Mutation(constant=one, insert=3.0)):
        a, b = (mutation(np.random.default_rng(3), parse(published.LION)) for _ in range(2))
        assert a == b
        assert pickle.loads(pickle.dumps(mutation)) == mutation and pickle.loads(pickle.dumps(a)) == a


def counted(mutation, program, number=1000):
    rng = np.random.default_rng(0)
    return collections.Counter(mutation(rng, program) for _ in range(number))


def test_arguments_are_uniform_over_all_tuples():
    """multiply over w, g and lr: nine tuples of variables, three more of each side's constant, and one of two."""
    program = Program((), (), ("g",))
    children = counted(Mutation(functions=("multiply",), constant=one, delete=0, modify=0), program, 4000)
    args = collections.Counter()
    for child, number in children.items():
        args[child.statements[0].args] += number
    assert len(args) == 16
    assert 0.7 < min(args.values()) / 250 and max(args.values()) / 250 < 1.3
    targets = {child.statements[0].target for child in children if child.statements[0].args == ("w", "g")}
    assert targets == {"w", "g", "v0"}
    assert {child.statements[0].target for child in children if child.statements[0].args == (1.0, "lr")} == {"lr", "v0"}


def test_deletion_leaves_what_the_others_need():
    program = parse("def train(w, g, lr):\n    a = g * lr\n    b = exp(a)\n    w = w + b\n    return b")
    children = counted(Mutation(insert=0, modify=0), program, 50)
    assert [child.statements for child in children] == [program.statements[:2]]
    rebound = parse("def train(w, g, lr):\n    g = exp(g)\n    lr = norm(g)\n    w = g * lr\n    return w")
    assert len(counted(Mutation(insert=0, modify=0), rebound, 100)) == 3


def test_modification_by_types():
    program = parse("def train(w, g, lr):\n    u = g * 2.0\n    return u")
    new = {child.statements[0].args for child in counted(Mutation(delete=0, insert=0, constant=one), program)}
    assert {("w", 2.0), ("g", "lr"), ("g", 1.0)} <= new
    factors = np.log2([args[1] / 2 for args in new if args[0] == "g" and args[1] not in ("lr", 1.0)])
    assert len(factors) > 100 and abs(factors.mean()) < 0.2 and abs(factors.std() - 1) < 0.1
    rate = parse("def train(w, g, lr):\n    u = g * lr\n    return u")
    args = {child.statements[0].args for child in counted(Mutation(delete=0, insert=0, constant=one), rate, 100)}
    assert args == {("w", "lr"), ("g", 1.0)}


def test_constants():
    rng = np.random.default_rng(0)
    assert one(rng) == 1.0 and abs(np.std([normal(rng) for _ in range(2000)]) - 1) < 0.1
    assert rescale(rng, 1e10) <= 1e10 and rescale(rng, -1e10) >= -1e10
    program = parse(published.LION)
    for _ in range(50):
        kind, at = difference(program, child := tune(rng, program))
        old, new = program.statements[at].args, child.statements[at].args
        changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
        assert kind == "modify" and len(changed) == 1 and all(isinstance(x, float) and x > 0 for x in changed[0])
    with pytest.raises(ValueError, match="no constants"):
        tune(rng, Program((), (), ("g",)))


def test_random_programs_are_valid_and_of_the_length_asked_for():
    rng = np.random.default_rng(0)
    for length in (0, 1, 30):
        for _ in range(50):
            program = random_program(rng, length, extras=("m",))
            types_of(program)
            assert len(program.statements) == length and program.outputs[1:] == program.extras == ("m",)
    with pytest.raises(ValueError, match="length"):
        random_program(rng, -1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"delete": -1.0}, ">= 0"),
        ({"delete": 0.0, "insert": 0.0, "modify": 0.0}, "not all zero"),
        ({"functions": ("sine",)}, "did you mean 'sin"),
        ({"functions": ("invert",)}, "admits arguments"),
        ({"longest": 0}, "longest"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Mutation(**arguments)


def test_what_cannot_be_done_is_said():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="nothing that is allowed"):
        Mutation(insert=0)(rng, Program((), (), ("g",)))
    full = parse("def train(w, g, lr):\n    u = get_pi() * g\n    return u")
    with pytest.raises(ValueError, match="nothing that is allowed"):
        Mutation(delete=0, modify=0, longest=2)(rng, full)
    treeless = Program((), (Statement("w", "norm", ("w",)), Statement("g", "norm", ("g",))), ("g",))
    with pytest.raises(ValueError, match="admit nothing"):
        Mutation(functions=("norm",)).statement(rng, treeless, 2)
