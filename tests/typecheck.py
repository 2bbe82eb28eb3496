"""Shape annotations, executed: an import hook over lopt and envs, and checked records that JAX can still rebuild."""

import functools
import sys
from typing import Any

import jax
from beartype import BeartypeConf, beartype
from flax import struct
from jaxtyping import install_import_hook, jaxtyped

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""beartype, with an int accepted where a float is asked for."""

PACKAGES = ("lopt", "envs")


def install() -> None:
    """Check every annotated function, dataclass and record of our packages; call before they are imported."""
    loaded = sorted(m for m in sys.modules if m.split(".")[0] in PACKAGES)
    if loaded:
        raise RuntimeError(f"typecheck: imported too early, so unchecked: {', '.join(loaded)}")
    _check_records()
    install_import_hook(list(PACKAGES), f"{__name__}.check")


def _check_records() -> None:
    """Make records check their fields only where our code builds them from arrays.

    JAX rebuilds records with whatever it carries through a tree (None, axis numbers, shapes, batched arrays), so the
    hook's own check of every construction would break `vmap` and `eval_shape`.
    """
    define = struct.PyTreeNode.__init_subclass__.__func__

    def defined(cls: type, **kwargs: Any) -> None:
        define(cls, **kwargs)
        if cls.__module__.split(".")[0] in PACKAGES:
            cls.__no_type_check__ = True  # the hook leaves the class alone
            cls.__init__ = _checked_init(cls.__init__)

    struct.PyTreeNode.__init_subclass__ = classmethod(defined)


def _checked_init(init: Any) -> Any:
    strict = jaxtyped(init, typechecker=check)

    @functools.wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        caller = sys._getframe(1).f_globals.get("__name__", "").split(".")[0]
        ours = caller in PACKAGES
        leaves = jax.tree.leaves((args, kwargs), is_leaf=lambda x: x is None) if ours else ()
        strict_here = ours and all(isinstance(leaf, jax.Array) for leaf in leaves)
        (strict if strict_here else init)(self, *args, **kwargs)

    return checked
