"""Optimizers on parameters spread over eight devices, with explicit shardings: a program of its own, for the number of
devices is set before JAX starts.

Prints a JSON object: for every optimizer named on the command line the pairs of things whose types differ, and the
greatest difference of an update from one device's. With `eager` as first word eager steps are compared, too, which
compile every operation for itself.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests.reference.optimizers import OPTIMIZERS


def parameters(case, seed, dtype):
    """A stack, a matrix and, unless every leaf must be one, other leaves; the first axis is to be spread out."""
    rng = np.random.default_rng(seed)
    shapes = {"stack": (8, 2, 3), "w": (16, 2)} | ({} if case.matrices else {"b": (8,), "s": ()})
    return {name: jnp.asarray(rng.normal(size=shape), dtype) for name, shape in shapes.items()}


def spread(tree, mesh):
    """Over the first axis, where there is one."""
    specs = [PartitionSpec("x") if x.ndim else PartitionSpec() for x in jax.tree.leaves(tree)]
    placed = [jax.device_put(x, NamedSharding(mesh, s)) for x, s in zip(jax.tree.leaves(tree), specs, strict=True)]
    return jax.tree.structure(tree).unflatten(placed)


def types(tree):
    return jax.tree.map(jax.typeof, tree)


def check(name, mesh, eager):
    """What differs in type between `init` and `update`, eager and compiled; and in number from one device."""
    case, wrong = OPTIMIZERS[name], []
    tx = case.make()
    init, update = jax.jit(tx.init), jax.jit(tx.update)
    with jax.set_mesh(mesh):
        for dtype in (jnp.bfloat16, jnp.float32):
            p, g = (spread(parameters(case, seed, dtype), mesh) for seed in (0, 1))
            state = init(p)
            updates, after = update(g, state, p)
            compared = {"updates and params": (updates, p), "states before and after": (state, after)}
            if eager:
                compared["compiled and eager init"] = (state, tx.init(p))
                compared["compiled and eager update"] = ((updates, after), tx.update(g, state, p))
            wrong += [f"{dtype.__name__}: {what}" for what, (a, b) in compared.items() if types(a) != types(b)]
    p, g = (parameters(case, seed, np.float32) for seed in (0, 1))
    one, _ = update(g, init(p), p)
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(updates), strict=True)
    return {"wrong": wrong, "difference": max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs)}


def main(how, *names):
    """Check each."""
    mesh = jax.make_mesh((jax.device_count(),), ("x",), axis_types=(AxisType.Explicit,))
    report = {name: check(name, mesh, how == "eager") for name in names}
    print(json.dumps({"devices": jax.device_count(), "optimizers": report}))


if __name__ == "__main__":
    main(*sys.argv[1:])
