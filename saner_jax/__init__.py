"""SAM and SANER as composable Optax transformations, for training on noisy labels.

An *ascent* says where to look, a *combine* what to keep, any Optax optimizer what to do with it::

    tx = optax.chain(
        saner_jax.saner(rho=0.1, alpha=0.5),
        optax.add_decayed_weights(5e-4),
        optax.sgd(0.1, momentum=0.9),
    )
    grad_fn = jax.grad(lambda p: loss(p, batch))
    updates, state = tx.update(grad_fn(params), state, params, grad_fn=grad_fn)
"""

from saner_jax.ascent import AverageState as AverageState
from saner_jax.ascent import average_directions as average_directions
from saner_jax.ascent import scale_to_adaptive_radius as scale_to_adaptive_radius
from saner_jax.ascent import scale_to_linf_radius as scale_to_linf_radius
from saner_jax.ascent import scale_to_radius as scale_to_radius
from saner_jax.ascent import subtract_trend as subtract_trend
from saner_jax.combine import damp_shrunk as damp_shrunk
from saner_jax.combine import remove_orthogonal as remove_orthogonal
from saner_jax.groups import is_grown as is_grown
from saner_jax.groups import is_reversed as is_reversed
from saner_jax.groups import is_shrunk as is_shrunk
from saner_jax.metrics import StepMetrics as StepMetrics
from saner_jax.metrics import step_metrics as step_metrics
from saner_jax.recipes import RECIPES as RECIPES
from saner_jax.recipes import asam as asam
from saner_jax.recipes import asaner as asaner
from saner_jax.recipes import friendly_sam as friendly_sam
from saner_jax.recipes import friendly_saner as friendly_saner
from saner_jax.recipes import gsam as gsam
from saner_jax.recipes import gsaner as gsaner
from saner_jax.recipes import sam as sam
from saner_jax.recipes import saner as saner
from saner_jax.recipes import vasso as vasso
from saner_jax.recipes import vasso_saner as vasso_saner
from saner_jax.schedules import alpha_warmup as alpha_warmup
from saner_jax.schedules import rho_tied_to_learning_rate as rho_tied_to_learning_rate
from saner_jax.sharpness_aware import SharpnessAware as SharpnessAware
from saner_jax.sharpness_aware import SharpnessAwareState as SharpnessAwareState
from saner_jax.sharpness_aware import sharpness_aware as sharpness_aware

__version__ = "0.1.0"
