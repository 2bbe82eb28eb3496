"""Mutation and random programs: children are valid, and changes have the specified probabilities."""

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
    mutate_constant,
    normal,
    one,
    parse,
    published,
    random_program,
    rescale,
    types_of,
)
from tests.reference.programs import descendants

CHILDREN = 3000
lineage = functools.partial(descendants, CHILDREN)


def signatures(program):
    """The function and the argument types of each statement; fails if the program is not valid."""
    bound = {name: Type.T for name in program.parameters} | {program.rate: Type.S}
    for s in program.statements:
        types = tuple(bound[arg] if isinstance(arg, str) else Type.S for arg in s.args)
        bound[s.target] = FUNCTIONS[s.function].signatures[types]
        yield s.function, types
    assert [bound[name] for name in program.outputs] == [Type.T] * (1 + len(program.extras))


def difference(parent, child):
    """The kind of a mutation and the position of the statement."""
    a, b = parent.statements, child.statements
    kind = {1: "insert", 0: "modify", -1: "delete"}[len(b) - len(a)]
    position = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    same = a[position + (kind != "insert") :] == b[position + (kind != "delete") :]
    assert same and child.outputs == parent.outputs and child.extras == parent.extras
    return kind, position


def test_children_are_valid_and_differ_in_one_statement():
    counts = collections.Counter()
    for parent, child in itertools.pairwise(lineage()):
        assert child != parent and len([*signatures(child)]) == len(child.statements)
        kind, position = difference(parent, child)
        counts[kind] += 1
        if kind == "modify":
            old, new = parent.statements[position], child.statements[position]
            assert (old.target, old.function) == (new.target, new.function)
            assert sum(a != b for a, b in zip(old.args, new.args, strict=True)) == 1
    assert max(len(program.statements) for program in lineage()) == 40
    assert min(counts.values()) > CHILDREN / 5


def test_all_functions_are_inserted_with_many_signatures():
    inserted = {pair for program in lineage() for pair in signatures(program)}
    assert {name for name, _ in inserted} == {*FUNCTIONS} - {"invert"}
    assert ("interpolate", (Type.T, Type.T, Type.S)) in inserted
    assert len(inserted) > 120


def test_children_pass_the_type_check_and_the_parser():
    for child in lineage()[::50]:
        assert len(types_of(child)) == len(child.statements)
        assert parse(child.text()) == child


def test_the_same_generator_gives_the_same_children():
    for mutation in (Mutation(), Mutation(constant=one, insert=3.0)):
        a, b = (mutation(np.random.default_rng(3), parse(published.LION)) for _ in range(2))
        assert a == b
        assert pickle.loads(pickle.dumps(mutation)) == mutation and pickle.loads(pickle.dumps(a)) == a


def count_children(mutation, program, number=1000):
    rng = np.random.default_rng(0)
    return collections.Counter(mutation(rng, program) for _ in range(number))


def test_arguments_are_uniform_over_all_tuples():
    """`multiply` of w, g, lr or a constant: 4 x 4 tuples."""
    program = Program((), (), ("g",))
    children = count_children(Mutation(functions=("multiply",), constant=one, delete=0, modify=0), program, 4000)
    args = collections.Counter()
    for child, number in children.items():
        args[child.statements[0].args] += number
    assert len(args) == 16
    assert 0.7 < min(args.values()) / 250 and max(args.values()) / 250 < 1.3
    targets = {child.statements[0].target for child in children if child.statements[0].args == ("w", "g")}
    assert targets == {"w", "g", "v0"}
    assert {child.statements[0].target for child in children if child.statements[0].args == (1.0, "lr")} == {"lr", "v0"}


def test_deletion_keeps_statements_that_others_need():
    program = parse("def train(w, g, lr):\n    a = g * lr\n    b = exp(a)\n    w = w + b\n    return b")
    children = count_children(Mutation(insert=0, modify=0), program, 50)
    assert [child.statements for child in children] == [program.statements[:2]]
    rebound = parse("def train(w, g, lr):\n    g = exp(g)\n    lr = norm(g)\n    w = g * lr\n    return w")
    assert len(count_children(Mutation(insert=0, modify=0), rebound, 100)) == 3


def test_modification_by_types():
    program = parse("def train(w, g, lr):\n    u = g * 2.0\n    return u")
    new = {child.statements[0].args for child in count_children(Mutation(delete=0, insert=0, constant=one), program)}
    assert {("w", 2.0), ("g", "lr"), ("g", 1.0)} <= new
    factors = np.log2([args[1] / 2 for args in new if args[0] == "g" and args[1] not in ("lr", 1.0)])
    assert len(factors) > 100 and abs(factors.mean()) < 0.2 and abs(factors.std() - 1) < 0.1
    rate = parse("def train(w, g, lr):\n    u = g * lr\n    return u")
    args = {child.statements[0].args for child in count_children(Mutation(delete=0, insert=0, constant=one), rate, 100)}
    assert args == {("w", "lr"), ("g", 1.0)}


def test_constants():
    rng = np.random.default_rng(0)
    assert one(rng) == 1.0 and abs(np.std([normal(rng) for _ in range(2000)]) - 1) < 0.1
    assert rescale(rng, 1e10) <= 1e10 and rescale(rng, -1e10) >= -1e10
    program = parse(published.LION)
    for _ in range(50):
        kind, position = difference(program, child := mutate_constant(rng, program))
        old, new = program.statements[position].args, child.statements[position].args
        changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
        assert kind == "modify" and len(changed) == 1 and all(isinstance(x, float) and x > 0 for x in changed[0])
    with pytest.raises(ValueError, match="no constants"):
        mutate_constant(rng, Program((), (), ("g",)))


def test_random_programs_are_valid_and_have_the_given_length():
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
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Mutation(**arguments)


def test_impossible_mutations_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="no allowed change is possible"):
        Mutation(insert=0)(rng, Program((), (), ("g",)))
    full = parse("def train(w, g, lr):\n    u = get_pi() * g\n    return u")
    with pytest.raises(ValueError, match="no allowed change is possible"):
        Mutation(delete=0, modify=0, longest=2)(rng, full)
    treeless = Program((), (Statement("w", "norm", ("w",)), Statement("g", "norm", ("g",))), ("g",))
    with pytest.raises(ValueError, match="admit nothing"):
        Mutation(functions=("norm",)).random_statement(rng, treeless, 2)
