"""Compare exported programs with their model, on samples that it decodes from random codes."""

from __future__ import annotations

from typing import Any

import torch

from vq.exports.programs import Runner
from vq.models.autoencoder import VQModel
from vq.progress import working
from vqcore.errors import RunError

#: Number of samples.
CHECKED = 16
#: Largest share of indices that may differ: another order of summation resolves near ties
#: differently.
TIES = 1e-3
#: Largest difference of a decoded value, as a share of the data's range.
ROUNDING = 1e-3


@torch.no_grad()
def check(
    model: VQModel, encode: Runner, decode: Runner, value_range: tuple[float, float]
) -> dict[str, Any]:
    """Compare two exported graphs with their model, on a batch and on a single sample.

    Returns:
        How many indices were compared, how many of them differ, and the largest difference of a
        decoded value.

    Raises:
        RunError: if they differ by more than rounding explains.
    """
    generator = torch.Generator().manual_seed(0)
    indices = torch.randint(model.codebook_size, (CHECKED, *model.index_shape), generator=generator)
    with working("comparing with the model"):
        samples = model.decode(indices).float()
        chosen = model.encode(samples)
        exported = torch.cat([encode(samples[1:]), encode(samples[:1])]).roll(1, 0)
        decoded = torch.cat([decode(indices[1:]), decode(indices[:1])]).roll(1, 0)
    differing = int((exported != chosen).sum())
    furthest = float((decoded - samples).abs().max())
    if differing > TIES * chosen.numel():
        share = f"{differing} of {chosen.numel()} indices"
        raise RunError(f"the exported encoder and the model differ in {share}")
    if not furthest <= ROUNDING * (value_range[1] - value_range[0]):
        raise RunError(f"the exported decoder and the model differ by {furthest:g}")
    counts = {"indices": chosen.numel(), "differing_indices": differing}
    return {**counts, "largest_difference": furthest}
