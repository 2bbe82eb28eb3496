"""A check of whole programs for keys that are used twice.

JAX's checker has three false positives: a backward pass that draws the random numbers of the forward pass again, a scan
over keys under vmap, and a while loop that takes rows of an array of keys. `trace` replaces these by simpler forms.
"""

import jax
import jax.numpy as jnp

from lopt import tree

vmap = jax.vmap


def trace(monkeypatch, f, *args):
    """Trace `f(*args)` with the check of key reuse; returns the shapes of the results.

    Raises:
        jax.errors.KeyReuseError: a key was used twice.
    """
    with monkeypatch.context() as patch, jax.debug_key_reuse(True):
        patch.setattr(jax, "grad", _forward_only)
        patch.setattr(jax, "vmap", _one_by_one)
        patch.setattr(tree, "masked_map", _all_rows)
        return jax.jit(f).trace(*args).out_info


def _forward_only(f, has_aux=False):
    def values(x, *args):
        out = f(x, *args)
        zeros = jax.tree.map(jnp.zeros_like, x)
        return (zeros, out[1]) if has_aux else zeros

    return values


def _one_by_one(f, in_axes=0):
    def mapped(*args):
        if not any(jnp.issubdtype(x.dtype, jax.dtypes.prng_key) for x in jax.tree.leaves(args)):
            return vmap(f, in_axes)(*args)
        axes = (in_axes,) * len(args) if isinstance(in_axes, int) else in_axes
        num = next(jax.tree.leaves(arg)[0].shape[0] for arg, axis in zip(args, axes, strict=True) if axis == 0)

        def row(i):
            # the checker follows a slice, but not a gather
            def take(x):
                return jax.lax.index_in_dim(x, i, keepdims=False)

            return [jax.tree.map(take, a) if axis == 0 else a for a, axis in zip(args, axes, strict=True)]

        return jax.tree.map(lambda *xs: jnp.stack(xs), *(f(*row(i)) for i in range(num)))

    return mapped


def _all_rows(f, mask, init, *args, pack=8):
    return tree.where(mask, jax.vmap(f)(*args), init)
