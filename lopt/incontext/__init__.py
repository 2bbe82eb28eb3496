"""In-context learners: sequence models that learn in the forward pass, from the examples in their context."""

from lopt.incontext.autoregression import AutoregressiveAttention
from lopt.incontext.classifier import Classifier
from lopt.incontext.fast_weights import FastWeights
from lopt.incontext.few_shot import FewShotAttention
from lopt.incontext.gru import GRU
from lopt.incontext.linear_attention import LinearAttention
from lopt.incontext.lstm import LSTM
from lopt.incontext.merged_attention import merged_attention, paired_tokens
from lopt.incontext.mesa_layer import MesaLayer, least_squares_attention
from lopt.incontext.one_step_attention import OneStepAttention
from lopt.incontext.outer_product_lstm import OuterProductLSTM
from lopt.incontext.paired import Paired
from lopt.incontext.transformer import Transformer
from lopt.incontext.vsml import VSML

__all__ = [
    "GRU",
    "LSTM",
    "VSML",
    "AutoregressiveAttention",
    "Classifier",
    "FastWeights",
    "FewShotAttention",
    "LinearAttention",
    "MesaLayer",
    "OneStepAttention",
    "OuterProductLSTM",
    "Paired",
    "Transformer",
    "least_squares_attention",
    "merged_attention",
    "paired_tokens",
]
