"""The experiments, one module each, in the order of the papers. Torch-free."""

from __future__ import annotations

from vq_papers.experiment import Experiment
from vq_papers.experiments import (
    homology,
    hyperbolic_ablations,
    hyperbolic_classification,
    hyperbolic_images,
    hyperbolic_samples,
    links,
    rotation,
    trees,
    vq_vae,
)

EXPERIMENTS: tuple[Experiment, ...] = (
    trees.EXPERIMENT,
    links.EXPERIMENT,
    hyperbolic_images.EXPERIMENT,
    hyperbolic_classification.EXPERIMENT,
    hyperbolic_samples.EXPERIMENT,
    hyperbolic_ablations.EXPERIMENT,
    homology.EXPERIMENT,
    vq_vae.EXPERIMENT,
    *rotation.EXPERIMENTS,
)
