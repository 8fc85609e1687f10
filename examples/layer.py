"""The layer in your own model and training loop."""

import torch
from torch import nn
from vqcore import VectorQuantizer

encoder, decoder = nn.Linear(32, 64), nn.Linear(64, 32)
vq = VectorQuantizer(
    dim=64, codebook_size=512, manifold="poincare", quantizer="ema", estimator="rotation",
    regularizers=["homology"],
)  # fmt: skip
optimizer = torch.optim.Adam(
    [*encoder.parameters(), *decoder.parameters(), *vq.parameters()], lr=1e-3
)
for _ in range(100):
    x = torch.randn(256, 32)
    out = vq(encoder(x))
    loss = nn.functional.mse_loss(decoder(out.quantized), x) + out.loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    vq.update()  # EMA codes and dead codes move here, after the step
perplexity = out.metrics["perplexity"].item()
print(f"loss {loss.item():.3f}, perplexity {perplexity:.1f}, indices {tuple(out.indices.shape)}")
