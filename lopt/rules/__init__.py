"""Rules that come with lopt."""

from lopt.rules.learned import learned, scale_by_learned

__all__ = ["learned", "scale_by_learned"]
