"""SimVQ: one linear layer over a frozen random table (Zhu et al. 2024, arXiv:2411.02038)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcore.codebook.own_rate import OwnRateCodebook
from vqcore.numerics.stable import in_full_precision, in_widest

#: Added to the diagonal of W^T W, relative to its mean, so that it is invertible.
RIDGE = 1e-12


class SimVQ(OwnRateCodebook):
    """Codes e_k = W f_k in tangent coordinates: the rows f_k are frozen, W (D, D) is learned.

    The gradient of the codes in use moves W and with it all codes. W starts as the identity, f_k at
    random at the scale of the latents. W learns ``lr_scale`` times as fast as the rest, see
    ``OwnRateCodebook``. Unlike in the paper, dead codes are replaced by default;
    ``dead_code_threshold=0`` turns that off. Options: see ``SimVQConfig``.

    Cost: the manifold's search and one (K, D) x (D, D) product; K D frozen numbers and D^2
    parameters.
    """

    code_tensors: ClassVar[tuple[str, ...]] = ("frozen",)
    frozen: Tensor

    def __init__(self, *, init: str = "normal", **options: Any) -> None:
        super().__init__(init=init, **options)
        self.register_buffer("frozen", self.manifold.logmap0(self._starting_points()).detach())
        self._register(nn.Parameter(torch.eye(self.dim)), self.lr_scale)

    def stored(self) -> Tensor:
        """See ``CodebookQuantizer.stored``."""
        return F.linear(in_full_precision(self.frozen), self.learned())

    @torch.no_grad()
    def set_points(
        self, rows: Tensor, points: Tensor, optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        """See ``CodebookQuantizer.set_points``: f = (W^T W)^-1 W^T e, the least-squares solution.

        No moments are reset: the optimizer holds none for a single code.
        """
        weight, wanted = map(in_widest, (self.learned(), self.manifold.logmap0(points)))
        square = weight.T @ weight
        ridge = (RIDGE * square.diagonal().mean()).clamp(min=torch.finfo(square.dtype).tiny)
        square = square + ridge * torch.eye(self.dim, dtype=square.dtype, device=square.device)
        # ``solve_ex`` does not check for errors, so the host does not wait for the device.
        fresh = torch.linalg.solve_ex(square, weight.T @ wanted.T)[0].T.to(self.frozen.dtype)
        self.frozen.data.copy_(torch.where(rows.unsqueeze(1), fresh, self.frozen))
