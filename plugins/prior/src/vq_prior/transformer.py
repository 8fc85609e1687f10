"""A small causal transformer over a sample's codes: p(tokens) = prod_t p(token_t | tokens_<t)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcore.errors import SettingError


class KeyValueCache:
    """Keys and values of the positions so far, for ``count`` sequences."""

    def __init__(self, prior: CodePrior, count: int) -> None:
        shape = (len(prior.blocks), 2, count, prior.heads, prior.length, prior.width // prior.heads)
        self.stored = prior.position.new_zeros(shape)
        self.length = 0

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Append (B, heads, 1, d) to a layer; return all of it, (B, heads, length + 1, d) each."""
        self.stored[layer, 0, :, :, self.length] = keys.squeeze(2)
        self.stored[layer, 1, :, :, self.length] = values.squeeze(2)
        keys, values = self.stored[layer, :, :, :, : self.length + 1].unbind()
        return keys, values


class Block(nn.Module):
    """The pre-norm block of GPT-2 (Radford et al. 2019): causal self-attention, then an MLP.

    ``layer`` is the number of the block, for the cache; ``dropout`` is on the residual branches.
    """

    def __init__(self, layer: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.layer, self.heads = layer, heads
        self.dropout = nn.Dropout(dropout)
        self.before_attention = nn.LayerNorm(width)
        self.before_mlp = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """(B, T, width) to the same shape; with a cache T is 1, the position after those in it."""
        x = x + self.dropout(self._attend(self.before_attention(x), cache))
        return x + self.dropout(self.mlp(self.before_mlp(x)))

    def _attend(self, x: Tensor, cache: KeyValueCache | None) -> Tensor:
        split = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys, values = split.unbind()
        if cache is not None:
            keys, values = cache.extend(self.layer, keys, values)
        mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=cache is None)
        return self.out(mixed.transpose(1, 2).flatten(2))


class CodePrior(nn.Module):
    """A distribution over sequences of codes, the autoencoder's flattened indices.

    Args:
        codebooks: number of the codebook of each position, (T,); see ``codebook_numbers``.
        codebook_size: K.
        layers, width, heads, dropout: of the transformer.
        classes: number of classes to condition on; 0 for none.
        tied: share one table between token embeddings and output logits.
    """

    offset: Tensor

    def __init__(
        self,
        codebooks: Sequence[int],
        codebook_size: int,
        *,
        layers: int,
        width: int,
        heads: int,
        dropout: float = 0.0,
        classes: int = 0,
        tied: bool = False,
    ) -> None:
        super().__init__()
        self.codebooks = list(codebooks)
        self.codebook_size = codebook_size
        self.length, self.width, self.heads = len(self.codebooks), width, heads
        self.classes = classes
        count = max(codebooks) + 1
        self.positions = [[t for t, b in enumerate(codebooks) if b == own] for own in range(count)]
        rows = count * codebook_size
        self.register_buffer("offset", torch.tensor(codebooks) * codebook_size, persistent=False)
        self.token = nn.Parameter(torch.randn(rows, width) * 0.02)
        self.position = nn.Parameter(torch.randn(self.length, width) * 0.02)
        self.start = nn.Embedding(max(classes, 1), width)
        self.blocks = nn.ModuleList(Block(layer, width, heads, dropout) for layer in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)
        self.head = None if tied else nn.Parameter(torch.zeros(rows, width))
        self.bias = nn.Parameter(torch.zeros(rows))
        self.apply(_initialize)
        for name, value in self.blocks.named_parameters():
            if name.endswith(("out.weight", "mlp.2.weight")):
                nn.init.normal_(value, std=0.02 / math.sqrt(2 * layers))

    def forward(self, tokens: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (B, T, K) of every token (B, T) given the tokens before it and the label (B,)."""
        before = self.token[tokens[:, :-1] + self.offset[:-1]]
        inputs = torch.cat([self._first(tokens.shape[0], labels), before], 1)
        x = self.dropout(inputs + self.position)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        logits = x.new_empty(*tokens.shape, self.codebook_size)
        for codebook, positions in enumerate(self.positions):
            logits[:, positions] = self._logits(x[:, positions], codebook).to(logits.dtype)
        return logits

    def bits(self, tokens: Tensor, labels: Tensor | None = None) -> Tensor:
        """-log2 of the probability of each token given the tokens before it, (B, T)."""
        logits = self(tokens, labels).float()
        return F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none") / math.log(2)

    def step(self, token: Tensor | None, labels: Tensor | None, cache: KeyValueCache) -> Tensor:
        """Logits (B, K) of the next token after ``token`` (B,): ``forward`` one position at a time.

        ``token`` is None at the first position; the cache is extended by one position.
        """
        t = cache.length
        if token is None:
            x = self._first(cache.stored.shape[2], labels)
        else:
            x = self.token[token + self.offset[t - 1]].unsqueeze(1)
        x = x + self.position[t]
        for block in self.blocks:
            x = block(x, cache)
        cache.length += 1
        return self._logits(self.norm(x), self.codebooks[t]).squeeze(1)

    def _first(self, count: int, labels: Tensor | None) -> Tensor:
        """The start token: the embedding of the class, or one for all sequences. (B, 1, width)."""
        if self.classes and labels is None:
            raise SettingError("labels", None, f"a class of each sequence, below {self.classes}")
        if labels is not None and not self.classes:
            raise SettingError("labels", "given", "None: the prior was trained without classes")
        if labels is None:
            labels = self.position.new_zeros(count, dtype=torch.int64)
        return self.start(labels).unsqueeze(1)

    def _logits(self, x: Tensor, codebook: int) -> Tensor:
        rows = slice(codebook * self.codebook_size, (codebook + 1) * self.codebook_size)
        return F.linear(x, (self.token if self.head is None else self.head)[rows], self.bias[rows])


def _initialize(module: nn.Module) -> None:
    """GPT-2's initialization: normal weights of standard deviation 0.02, zero biases."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
