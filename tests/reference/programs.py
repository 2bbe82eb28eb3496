"""Programs of the search: published, mutated and random ones, and their updates of some weights."""

import functools

import numpy as np

from lopt.search import Mutation, Statement, interpret, parse, prune_loop, published, random_program

FOUND = {
    "program with an angle": """\
def train(w, g, m, lr):
    g2 = square(g)
    w = interp(lr, w, lr)
    v = cbrt(g)
    m = interp(g, m, 0.9)
    lr = cosine_sim(v, g)
    v = cos(m)
    v = interp(g2, v, 0.999)
    t1 = sqrt(v)
    g = cbrt(t1)
    u = m / g
    wd = w * 0.01
    u = u + wd
    u = u * lr
    return u, m
""",
    "program with clipping": """\
def train(w, g, m, lr):
    w = negative(g)
    v = clip(w, lr)
    m = interp(v, m, 0.9)
    t1 = sqrt(v)
    lr = cosine_sim(w, v)
    u = m / t1
    wd = w * 0.003987240864212037
    u = u + wd
    u = u * lr
    return u, m
""",
    "program with norms": """\
def train(w, g, m, v, lr):
    m = interp(g, m, 0.9)
    ratio = norm(w) / norm(m)
    v = v + ratio * lr
    u = tanh(v) * m + max(ratio, lr) * 0.01
    u = u * lr
    return u, m, v
""",
}
"""Two programs found by mutation from AdamW, and a hand-written one; their updates are finite."""

SHAPES = ((2, 2), (3,))


def tree(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return tuple(scale * rng.normal(size=shape) for shape in SHAPES)


@functools.cache
def descendants(number, start=published.ADAMW, seed=0):
    """`number` programs, each mutated from the one before, the first from `start`."""
    rng, mutation = np.random.default_rng(seed), Mutation(longest=40)
    chain = [parse(start)]
    while len(chain) <= number:
        chain.append(mutation(rng, chain[-1]))
    return tuple(chain[1:])


@functools.cache
def random_programs(number, length=15, mutation=None, seed=0):
    """Uniform random valid programs."""
    rng = np.random.default_rng(seed)
    return tuple(random_program(rng, length, mutation=mutation) for _ in range(number))


@functools.cache
def updates(program, steps=3):
    """The updates of some steps; they are applied to the weights where finite."""
    w, extras, history = tree(0), [tree(0, 0.0)] * len(program.extras), []
    for step in range(steps):
        update, extras = interpret(program, w, tree(1 + step), extras, 1.0 - 0.1 * step)
        w = tuple(np.subtract(x, u, where=np.isfinite(u), out=x.copy()) for x, u in zip(w, update, strict=True))
        history += update
    return history


@functools.cache
def candidates():
    """Different programs, mutated and random, without dead statements."""
    chains = [descendants(60, start, seed)[9::10] for start in (published.ADAMW, published.LION) for seed in range(12)]
    live = [prune_loop(program) for chain in (*chains, random_programs(100, length=20)) for program in chain]
    return list(dict.fromkeys(program for program in live if program.statements))


def jittered(program, rng, size=1e-9):
    """The program with a relative error of at most `size` in every value."""
    statements = []
    for s in program.statements:
        statements += [s, Statement(s.target, "multiply", (s.target, 1 + size * rng.uniform(-1, 1)))]
    return program.with_statements(tuple(statements))


def flat(update, extras):
    return np.concatenate([np.ravel(np.asarray(x, float)) for x in (*update, *(x for tree in extras for x in tree))])
