"""In-context learners: sequence models that learn in their forward pass, from the examples before them."""

from lopt.incontext.transformer import Transformer

__all__ = ["Transformer"]
