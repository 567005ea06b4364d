"""The papers' methods, as products of an ascent and a combine.

Every recipe takes ``rho`` first, the radius of the perturbation in parameter units (``rho=0`` is
the base optimizer alone), and has the paper's defaults for the rest. Strengths are numbers, traced
scalars or Optax schedules of the update count. ``perturb_mask`` (which parameters are perturbed)
and ``metrics`` (keep :class:`StepMetrics`) go to :func:`sharpness_aware`; what that returns, needs
and raises, the recipes return, need and raise, and wrong strengths raise ``ValueError`` or
``TypeError`` at build. A step costs two gradients; the state has no tree of the parameters' size,
but for the one average of the friendly, vasso and sparse kinds.

In the formulas g is the gradient at the parameters w, g' the one at the perturbed parameters, m
marks the coordinates with 0 < g'/g < 1.
"""

from saner_jax.recipes._ncsam import ncsam, simulate_flips
from saner_jax.recipes._sam import (
    asam,
    friendly_ascent,
    friendly_sam,
    gsam,
    sam,
    sparse_sam,
    stable_sam,
    vasso,
    vasso_ascent,
    wsam,
    zsharp,
)
from saner_jax.recipes._saner import (
    asaner,
    friendly_saner,
    gsaner,
    sam_only,
    sam_without,
    saner,
    vasso_saner,
)
from saner_jax.recipes._skipping import ae_sam, look_sam

RECIPES = {
    "sam": sam,
    "asam": asam,
    "gsam": gsam,
    "friendly_sam": friendly_sam,
    "vasso": vasso,
    "wsam": wsam,
    "stable_sam": stable_sam,
    "zsharp": zsharp,
    "sparse_sam": sparse_sam,
    "saner": saner,
    "asaner": asaner,
    "gsaner": gsaner,
    "friendly_saner": friendly_saner,
    "vasso_saner": vasso_saner,
    "sam_only": sam_only,
    "sam_without": sam_without,
    "look_sam": look_sam,
    "ae_sam": ae_sam,
    "ncsam": ncsam,
}
"""Every recipe by name. A recipe has SANER's ``alpha`` if its name ends in "saner"."""

__all__ = [
    "RECIPES",
    "ae_sam",
    "asam",
    "asaner",
    "friendly_ascent",
    "friendly_sam",
    "friendly_saner",
    "gsam",
    "gsaner",
    "look_sam",
    "ncsam",
    "sam",
    "sam_only",
    "sam_without",
    "saner",
    "simulate_flips",
    "sparse_sam",
    "stable_sam",
    "vasso",
    "vasso_ascent",
    "vasso_saner",
    "wsam",
    "zsharp",
]
