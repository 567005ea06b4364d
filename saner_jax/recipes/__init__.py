"""The methods of the papers, each a product of an ascent and a combine.

Every recipe returns the Optax transformation of :func:`sharpness_aware`, with its results, state
and errors. :func:`look_sam` and :func:`ae_sam` wrap that transformation in :func:`look_if`. A wrong
argument is a ``ValueError`` or a ``TypeError`` at build. All recipes share these arguments:

- ``rho`` comes first. It is the radius of the perturbation in parameter units, and relative to the
  size of the parameters in :func:`asam` and :func:`asaner`. ``rho=0`` is the base optimizer alone.
- The other strengths have the defaults of the paper, if it has one. A strength is a number, a
  traced scalar or an Optax schedule of the update count.
- ``perturb_mask`` selects the parameters that are perturbed. ``metrics=True`` keeps
  :class:`StepMetrics` in the state. Both have the meaning that :func:`sharpness_aware` gives them.

A step costs two gradients. :func:`look_sam` and :func:`ae_sam` skip the second one on some steps,
and :func:`ncsam` needs a third one from the caller. The state has one tree of the size of the
parameters in the friendly, vasso and sparse recipes and in :func:`look_sam`. In the others it has
none.

Symbols in the formulas: w are the parameters, g is the gradient at w, and g' is the gradient at
the perturbed parameters. m is 1 where 0 < g'/g < 1, and 0 elsewhere.
"""

from saner_jax.recipes._ncsam import ncsam, simulate_flips
from saner_jax.recipes._sam import (
    asam,
    friendly_ascent,
    friendly_sam,
    gsam,
    sam,
    stable_sam,
    vasso,
    vasso_ascent,
    wsam,
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
from saner_jax.recipes._sparse import sparse_sam, zsharp

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
