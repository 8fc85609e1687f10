"""A small causal transformer over the codes of a sample: p(tokens) = product over t of p(token t | tokens before)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcore.errors import SettingError


class Cache:
    """Keys and values of the positions done so far, so that each new one costs one pass of one position.

    Args:
        prior: whose layers they belong to.
        count: sequences.
    """

    def __init__(self, prior: CodePrior, count: int) -> None:
        layers, heads, width = len(prior.blocks), prior.blocks[0].heads, prior.width
        shape = (layers, 2, count, heads, prior.length, width // heads)
        self.stored = prior.position.new_zeros(shape)
        self.length = 0

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put (B, heads, 1, d) after those of the layer; all of them, (B, heads, length + 1, d)."""
        self.stored[layer, 0, :, :, self.length] = keys.squeeze(2)
        self.stored[layer, 1, :, :, self.length] = values.squeeze(2)
        return tuple(self.stored[layer, :, :, :, : self.length + 1].unbind())


class Block(nn.Module):
    """Attention to the positions up to the present one, then a two-layer network; each after a layer norm, added on.

    The arrangement of GPT-2 (Radford et al. 2019).

    Args:
        layer: number of the block.
        width: of its input and output.
        heads: of the attention, a divisor of ``width``.
        dropout: of what is added on, in training.
    """

    def __init__(self, layer: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.layer, self.heads, self.dropout = layer, heads, nn.Dropout(dropout)
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, cache: Cache | None = None) -> Tensor:
        """(B, T, width) to the same; with a cache T is 1, the position after those in it."""
        x = x + self.dropout(self._attend(self.before_attention(x), cache))
        return x + self.dropout(self.mlp(self.before_mlp(x)))

    def _attend(self, x: Tensor, cache: Cache | None) -> Tensor:
        split = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys, values = split.unbind()
        if cache is not None:
            keys, values = cache.extend(self.layer, keys, values)
        mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=cache is None)
        return self.out(mixed.transpose(1, 2).flatten(2))


class CodePrior(nn.Module):
    """A distribution over sequences of codes, as the autoencoder's indices flattened.

    Args:
        books: which codebook each position's token belongs to (groups, stages and levels have one each), (T,).
        codebook_size: K.
        layers, width, heads, dropout: of the transformer.
        classes: number of classes it is told of; 0 for none.
        tied: the table that tokens enter by is the one their probabilities are read from.

    Attributes:
        length: T.
    """

    def __init__(
        self,
        *,
        books: Sequence[int],
        codebook_size: int,
        layers: int,
        width: int,
        heads: int,
        dropout: float = 0.0,
        classes: int = 0,
        tied: bool = False,
    ) -> None:
        super().__init__()
        self.length, self.width, self.codebook_size, self.classes = (
            len(books),
            width,
            codebook_size,
            classes,
        )
        count = max(books) + 1
        self.positions = [[t for t, book in enumerate(books) if book == b] for b in range(count)]
        self.register_buffer("offset", torch.tensor(books) * codebook_size, persistent=False)
        self.token = nn.Parameter(torch.randn(count * codebook_size, width) * 0.02)
        self.position = nn.Parameter(torch.randn(self.length, width) * 0.02)
        self.start = nn.Embedding(max(classes, 1), width)
        self.blocks = nn.ModuleList(Block(layer, width, heads, dropout) for layer in range(layers))
        self.dropout, self.norm = nn.Dropout(dropout), nn.LayerNorm(width)
        self.head = None if tied else nn.Parameter(torch.zeros(count * codebook_size, width))
        self.bias = nn.Parameter(torch.zeros(count * codebook_size))
        self.apply(_initialize)
        for block in self.blocks:
            for last in (block.out, block.mlp[2]):
                nn.init.normal_(last.weight, std=0.02 / math.sqrt(2 * layers))

    def forward(self, tokens: Tensor, labels: Tensor | None = None) -> Tensor:
        """Logits (B, T, K) of every token given those before it.

        Args:
            tokens: (B, T) int64.
            labels: (B,) int64, where the prior has classes, and only there.

        Raises:
            SettingError: if it has classes and there are no labels, or the other way round.
        """
        before = self.token[tokens[:, :-1] + self.offset[:-1]]
        x = self.dropout(
            torch.cat([self._first(tokens.shape[0], labels), before], 1) + self.position
        )
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        logits = x.new_empty(*tokens.shape, self.codebook_size)
        for book, positions in enumerate(self.positions):
            logits[:, positions] = self._read(x[:, positions], book).to(logits.dtype)
        return logits

    def bits(self, tokens: Tensor, labels: Tensor | None = None) -> Tensor:
        """Bits that each token costs given those before it, (B, T): -log2 of its probability."""
        logits = self(tokens, labels).float()
        return F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none") / math.log(2)

    def step(self, token: Tensor | None, labels: Tensor | None, cache: Cache) -> Tensor:
        """Logits (B, K) of the next token, in eval: ``forward`` one position at a time.

        Args:
            token: (B,), the one before; None at the first position.
            labels: (B,), where the prior has classes.
            cache: of the positions before; moved on by one.
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
        book = next(b for b, positions in enumerate(self.positions) if t in positions)
        return self._read(self.norm(x), book).squeeze(1)

    def _first(self, count: int, labels: Tensor | None) -> Tensor:
        """What stands where a token before the first would be: the class, or the same for all. (B, 1, width)."""
        if (labels is None) == (self.classes > 0):
            expected = (
                f"a class of each sequence, below {self.classes}"
                if self.classes
                else "None: no class was learned"
            )
            raise SettingError("labels", labels if labels is None else "given", expected)
        if labels is None:
            labels = self.position.new_zeros(count, dtype=torch.int64)
        return self.start(labels).unsqueeze(1)

    def _read(self, x: Tensor, book: int) -> Tensor:
        rows = slice(book * self.codebook_size, (book + 1) * self.codebook_size)
        return F.linear(x, (self.token if self.head is None else self.head)[rows], self.bias[rows])


def _initialize(module: nn.Module) -> None:
    """GPT-2's: small normal weights, no biases."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
