"""The in-context learner, its tasks and its optimizer in PyTorch, for comparison; PyTorch is not a dependency."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from experiments.incontext.gpicl.build import Study
from lopt.incontext import Transformer


class Block(nn.Module):
    """u += attention(norm(u)); u += mlp(norm(u)), with PyTorch's fused attention."""

    def __init__(self, model: Transformer):
        super().__init__()
        self.heads = model.heads
        size = model.heads * (model.key_size or model.width // model.heads)
        self.norm_mix, self.norm_hidden = nn.LayerNorm(model.width), nn.LayerNorm(model.width)
        self.attend, self.read = nn.Linear(model.width, 3 * size, False), nn.Linear(size, model.width, False)
        hidden = model.expansion * model.width
        self.network = nn.Sequential(nn.Linear(model.width, hidden), nn.GELU("tanh"), nn.Linear(hidden, model.width))

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        """One block over `[B, T, width]`."""
        parts = self.attend(self.norm_mix(u)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        read = nn.functional.scaled_dot_product_attention(*parts, is_causal=True)
        u = u + self.read(read.transpose(1, 2).flatten(2))
        return u + self.network(self.norm_hidden(u))


class Net(nn.Module):
    """The network of `lopt.incontext.Transformer`: embedding, positions, blocks and output head."""

    def __init__(self, model: Transformer):
        super().__init__()
        self.embed = nn.Linear(model.inputs + model.targets, model.width)
        self.position = nn.Parameter(0.02 * torch.randn(model.positions, model.width))
        self.blocks = nn.Sequential(*(Block(model) for _ in range(model.layers)))
        self.head = nn.Sequential(nn.LayerNorm(model.width), nn.Linear(model.width, model.outputs))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits `[B, T, outputs]`."""
        return self.head(self.blocks(self.embed(tokens) + self.position[: tokens.shape[1]]))


def training(study: Study, batch: int) -> Callable[[], None]:
    """A function that samples a batch of tasks and makes one step of Adam; eager, as PyTorch usually runs on a CPU."""
    assert isinstance(study.model, Transformer)
    tasks, net = study.tasks, Net(study.model)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, eps=1e-12)
    inputs = tasks.data.train.inputs.reshape(len(tasks.data.train), -1)
    mean = inputs.mean(0)
    x = torch.from_numpy((inputs - mean) / (inputs - mean).std())
    y = torch.from_numpy(tasks.data.train.targets.astype(np.int64))
    rows = torch.arange(batch)[:, None]

    def sample() -> tuple[torch.Tensor, torch.Tensor]:
        index = torch.rand(batch, len(x)).topk(tasks.length).indices  # distinct
        matrices = torch.randn(batch, x.shape[1], tasks.features) * x.shape[1] ** -0.5
        permutation = torch.rand(batch, tasks.slots).argsort(1)
        labels = permutation[rows, y[index]]
        previous_labels = nn.functional.one_hot(labels, tasks.slots).float().roll(1, 1)
        previous_labels[:, 0] = 0
        return torch.cat([x[index] @ matrices, previous_labels], -1), labels

    def advance() -> None:
        tokens, labels = sample()
        loss = nn.functional.cross_entropy(net(tokens).flatten(0, 1), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    return advance
