"""The step: an ascent, a second pass and a combine, and what decides when and where it is taken."""

from saner_jax._core._names import names_of
from saner_jax.step._masks import (
    MASKS,
    MaskDescription,
    all_but_normalization,
    describe_mask,
    is_normalization,
    last_layer,
    normalization_only,
)
from saner_jax.step._metrics import (
    StepMetrics,
    initial_metrics,
    kept_metrics,
    metrics_in,
    step_metrics,
)
from saner_jax.step._per_device import per_device, synchronized, varying
from saner_jax.step._per_group import GroupGradFn, PerGroupState, per_group
from saner_jax.step._perturbed_params import perturbed_params
from saner_jax.step._schedules import alpha_warmup, rho_tied_to_learning_rate, smooth_ramp
from saner_jax.step._second_pass import PassOutput
from saner_jax.step._sharpness_aware import (
    KEEP_PERTURBED,
    GradFn,
    SharpnessAwareState,
    sharpness_aware,
)
from saner_jax.step._skipping import (
    Policy,
    SelectiveState,
    SteepnessState,
    at_random,
    every_steps,
    look_if,
    where_steep,
)
from saner_jax.step._value_and_update import StepOutput, value_and_update

__all__ = [
    "KEEP_PERTURBED",
    "MASKS",
    "GradFn",
    "GroupGradFn",
    "MaskDescription",
    "PassOutput",
    "PerGroupState",
    "Policy",
    "SelectiveState",
    "SharpnessAwareState",
    "SteepnessState",
    "StepMetrics",
    "StepOutput",
    "all_but_normalization",
    "alpha_warmup",
    "at_random",
    "describe_mask",
    "every_steps",
    "initial_metrics",
    "is_normalization",
    "kept_metrics",
    "last_layer",
    "look_if",
    "metrics_in",
    "names_of",
    "normalization_only",
    "per_device",
    "per_group",
    "perturbed_params",
    "rho_tied_to_learning_rate",
    "sharpness_aware",
    "smooth_ramp",
    "step_metrics",
    "synchronized",
    "value_and_update",
    "varying",
    "where_steep",
]
