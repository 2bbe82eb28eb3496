"""In-context learners: sequence models that learn in their forward pass, from the examples before them."""

from lopt.incontext.autoregression import AutoregressiveAttention
from lopt.incontext.few_shot import FewShotAttention
from lopt.incontext.linear_attention import LinearAttention, linear_attention, paired_tokens
from lopt.incontext.mesa_layer import MesaLayer, least_squares_attention
from lopt.incontext.transformer import Transformer

__all__ = [
    "AutoregressiveAttention",
    "FewShotAttention",
    "LinearAttention",
    "MesaLayer",
    "Transformer",
    "least_squares_attention",
    "linear_attention",
    "paired_tokens",
]
