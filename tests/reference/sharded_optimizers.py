"""Optimizers on parameters sharded over eight devices, with explicit shardings.

A separate program, because the number of devices is set before JAX starts. Prints a JSON object: for every optimizer
named on the command line, the pairs of trees whose types differ, and the largest difference of an update from that on
one device. With `eager` as first argument, eager steps are compared as well, in which every operation is compiled
separately.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests.reference.optimizers import OPTIMIZERS


def parameters(case, seed, dtype):
    """A stack of matrices, a matrix, and where allowed a vector and a scalar; the first axis is to be sharded."""
    rng = np.random.default_rng(seed)
    shapes = {"stack": (8, 2, 3), "w": (16, 2)} | ({} if case.matrices else {"b": (8,), "s": ()})
    return {name: jnp.asarray(rng.normal(size=shape), dtype) for name, shape in shapes.items()}


def shard(tree, mesh):
    """The tree sharded over the first axis of its leaves; scalars are replicated."""
    specs = [PartitionSpec("x") if x.ndim else PartitionSpec() for x in jax.tree.leaves(tree)]
    placed = [jax.device_put(x, NamedSharding(mesh, s)) for x, s in zip(jax.tree.leaves(tree), specs, strict=True)]
    return jax.tree.structure(tree).unflatten(placed)


def types(tree):
    return jax.tree.map(jax.typeof, tree)


def check(name, mesh, eager):
    """Pairs of trees that differ in type, and the largest difference of an update from that on one device."""
    case, wrong = OPTIMIZERS[name], []
    tx = case.make()
    init, update = jax.jit(tx.init), jax.jit(tx.update)
    with jax.set_mesh(mesh):
        for dtype in (jnp.bfloat16, jnp.float32):
            p, g = (shard(parameters(case, seed, dtype), mesh) for seed in (0, 1))
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


def main(mode, *names):
    """Check the named optimizers, and print the report."""
    mesh = jax.make_mesh((jax.device_count(),), ("x",), axis_types=(AxisType.Explicit,))
    report = {name: check(name, mesh, mode == "eager") for name in names}
    print(json.dumps({"devices": jax.device_count(), "optimizers": report}))


if __name__ == "__main__":
    main(*sys.argv[1:])
