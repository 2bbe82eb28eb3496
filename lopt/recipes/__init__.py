"""Functions that put the parts of lopt together as papers do; what they return can be taken apart and changed."""

from lopt.recipes.groove import groove, lpg

__all__ = ["groove", "lpg"]
