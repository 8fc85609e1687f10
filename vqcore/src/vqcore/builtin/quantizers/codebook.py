"""The codebook of VQ-VAE (van den Oord et al. 2017, arXiv:1711.00937, eq. 3)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vqcore.codebook.drift import followed
from vqcore.codebook.own_rate import OwnRateCodebook
from vqcore.codebook.rows import reset_rows
from vqcore.errors import SettingError
from vqcore.interfaces.quantizer import CodeAssignment


class GradientCodebook(OwnRateCodebook):
    """Codes are parameters: loss = codebook_weight d(sg x, e)^2 + commitment_weight d(x, sg e)^2.

    d is the manifold's distance. Codes stored as tangent coordinates learn ``lr_scale`` times as
    fast as the rest, see ``OwnRateCodebook``; those stored as points, at the rate of the rest.

    Cost: the manifold's search and O(N D + K D); K D parameters with their gradient and the
    optimizer's moments.

    Args:
        affine_lr: if above 0, codes are e = w (1 + affine_lr s) + affine_lr b in tangent
            coordinates, with a learned scale s and shift b (D,) shared by all, through which the
            gradient of the codes in use moves the others (Huh et al. 2023, arXiv:2305.08842,
            section 4.1).
        synchronized: weight of the decoder's gradient on the chosen codes (section 4.2 there).
        drift: how much codes without a token in a step follow the mean move of the others, see
            ``drift.followed``.
        options: the others, see ``GradientCodebookConfig``.

    Raises:
        SettingError: for ``affine_lr`` or ``drift`` with codes that are not stored as tangent
            coordinates.
    """

    code_tensors: ClassVar[tuple[str, ...]] = ("weight",)
    _before: Tensor | None  # (K, D), the codes of the step's forward passes

    def __init__(
        self,
        *,
        affine_lr: float = 0.0,
        synchronized: float = 0.0,
        drift: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.affine_lr = affine_lr
        self.synchronized = synchronized
        self.drift = drift
        weight = self.manifold.parameter(self._starting_points())
        self._kind = type(weight)
        self.apart = self._kind is not nn.Parameter  # each such parameter knows its manifold
        self._register(weight, 1.0 if self.apart else self.lr_scale)
        tangent = self.weight.shape[1] == self.dim and not self.apart
        for name, value in (("affine_lr", affine_lr), ("drift", drift)):
            if value > 0 and not tangent:
                expected, fix = "0 for codes stored as points", "set manifold.codes to tangent"
                raise SettingError(name, value, expected, fix)
        if affine_lr > 0:
            self.scale = nn.Parameter(torch.zeros(self.dim))
            self.shift = nn.Parameter(torch.zeros(self.dim))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        """As every table does; a plain parameter in the place of one with a manifold gets that."""
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        plain = type(self.weight) is nn.Parameter  # that of FSDP is none, and must stay itself
        if plain and self._kind is not nn.Parameter:  # after ``assign=True`` or ``to_empty``
            loaded = self.weight.detach()
            self.weight = self.manifold.parameter(loaded)
            self.weight.data = loaded  # to the bit

    def stored(self) -> Tensor:
        """See ``CodebookQuantizer.stored``."""
        weight = self.learned()
        if self.affine_lr > 0:
            weight = weight * (1 + self.affine_lr * self.scale) + self.affine_lr * self.shift
        return weight

    def codes_of(self, stored: Tensor) -> tuple[Tensor, Tensor]:
        """See ``CodebookQuantizer.codes_of``."""
        return self.manifold.codes(stored)

    @torch.no_grad()
    def set_points(
        self, rows: Tensor, points: Tensor, optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        """See ``CodebookQuantizer.set_points``."""
        self._overwrite(rows, self.manifold.coordinates(points))
        reset_rows(self.weight, rows, optimizer)

    def _overwrite(self, rows: Tensor, stored: Tensor) -> None:
        """Let ``stored`` be these (K, R) where ``rows`` (K,) is True."""
        fresh = stored.to(self.weight)
        if self.affine_lr > 0:
            fresh = (fresh - self.affine_lr * self.shift) / (1 + self.affine_lr * self.scale)
        self.weight.data.copy_(torch.where(rows.unsqueeze(1), fresh / self.lr_scale, self.weight))

    # -- drift ---------------------------------------------------------------

    def observe(self, assignment: CodeAssignment) -> None:
        """See ``UsageTracking.observe``; the first of a step also notes the codes."""
        super().observe(assignment)
        if self.drift > 0 and self._before is None:
            self._before = self.stored().detach().clone()

    @torch.no_grad()
    def learn(self, counts: Tensor) -> None:
        """See ``CodebookQuantizer.learn``: codes without a token follow the others."""
        if self.drift > 0:
            after = self.stored()
            before = after if self._before is None else self._before
            self._overwrite(counts == 0, followed(before, after, counts, self.drift))

    def _clear_statistics(self) -> None:
        super()._clear_statistics()
        self._before = None
