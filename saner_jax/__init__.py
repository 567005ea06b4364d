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
from saner_jax.ascent import add_direction as add_direction
from saner_jax.ascent import average_directions as average_directions
from saner_jax.ascent import keep_outliers as keep_outliers
from saner_jax.ascent import subtract_trend as subtract_trend
from saner_jax.balls import project_to_radius as project_to_radius
from saner_jax.balls import scale_to_adaptive_linf_radius as scale_to_adaptive_linf_radius
from saner_jax.balls import scale_to_adaptive_radius as scale_to_adaptive_radius
from saner_jax.balls import scale_to_layerwise_radius as scale_to_layerwise_radius
from saner_jax.balls import scale_to_linf_radius as scale_to_linf_radius
from saner_jax.balls import scale_to_radius as scale_to_radius
from saner_jax.climbing import climb as climb
from saner_jax.combine import damp_shrunk as damp_shrunk
from saner_jax.combine import restore_origin as restore_origin
from saner_jax.devices import per_device as per_device
from saner_jax.devices import synchronised as synchronised
from saner_jax.groups import is_grown as is_grown
from saner_jax.groups import is_reversed as is_reversed
from saner_jax.groups import is_shrunk as is_shrunk
from saner_jax.masks import all_but_normalization as all_but_normalization
from saner_jax.masks import is_normalization as is_normalization
from saner_jax.masks import last_layer as last_layer
from saner_jax.masks import normalization_only as normalization_only
from saner_jax.metrics import StepMetrics as StepMetrics
from saner_jax.metrics import step_metrics as step_metrics
from saner_jax.noise_direction import ncsam as ncsam
from saner_jax.noise_direction import simulate_flips as simulate_flips
from saner_jax.per_group import PerGroupState as PerGroupState
from saner_jax.per_group import per_group as per_group
from saner_jax.policies import Policy as Policy
from saner_jax.policies import at_random as at_random
from saner_jax.policies import every_steps as every_steps
from saner_jax.policies import look_if as look_if
from saner_jax.policies import where_steep as where_steep
from saner_jax.recipes import RECIPES as RECIPES
from saner_jax.recipes import SELECTIVE_RECIPES as SELECTIVE_RECIPES
from saner_jax.regularization import penalised_loss as penalised_loss
from saner_jax.sam_recipes import asam as asam
from saner_jax.sam_recipes import friendly_sam as friendly_sam
from saner_jax.sam_recipes import gsam as gsam
from saner_jax.sam_recipes import sam as sam
from saner_jax.sam_recipes import sparse_sam as sparse_sam
from saner_jax.sam_recipes import stable_sam as stable_sam
from saner_jax.sam_recipes import vasso as vasso
from saner_jax.sam_recipes import wsam as wsam
from saner_jax.sam_recipes import zsharp as zsharp
from saner_jax.saner_recipes import asaner as asaner
from saner_jax.saner_recipes import friendly_saner as friendly_saner
from saner_jax.saner_recipes import gsaner as gsaner
from saner_jax.saner_recipes import sam_only as sam_only
from saner_jax.saner_recipes import sam_without as sam_without
from saner_jax.saner_recipes import saner as saner
from saner_jax.saner_recipes import vasso_saner as vasso_saner
from saner_jax.schedules import alpha_warmup as alpha_warmup
from saner_jax.schedules import rho_tied_to_learning_rate as rho_tied_to_learning_rate
from saner_jax.schedules import smooth_ramp as smooth_ramp
from saner_jax.selective_recipes import ae_sam as ae_sam
from saner_jax.selective_recipes import look_sam as look_sam
from saner_jax.sharpness_aware import SharpnessAware as SharpnessAware
from saner_jax.sharpness_aware import SharpnessAwareState as SharpnessAwareState
from saner_jax.sharpness_aware import sharpness_aware as sharpness_aware
from saner_jax.span import extrapolate as extrapolate
from saner_jax.span import keep_origin_length as keep_origin_length
from saner_jax.span import remove_orthogonal as remove_orthogonal
from saner_jax.span import reuse_orthogonal as reuse_orthogonal
from saner_jax.sparsity import sparsify as sparsify
from saner_jax.split_pass import split_gradient as split_gradient

__version__ = "0.1.0"
