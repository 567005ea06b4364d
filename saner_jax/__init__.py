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

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saner_jax import parts
    from saner_jax.ascent import (
        AverageState,
        add_direction,
        average_directions,
        climb,
        keep_outliers,
        project_to_radius,
        scale_to_adaptive_linf_radius,
        scale_to_adaptive_radius,
        scale_to_layerwise_radius,
        scale_to_linf_radius,
        scale_to_radius,
        sparsify,
        subtract_trend,
    )
    from saner_jax.combine import (
        damp_shrunk,
        extrapolate,
        is_grown,
        is_reversed,
        is_shrunk,
        keep_origin_length,
        remove_orthogonal,
        restore_origin,
        reuse_orthogonal,
    )
    from saner_jax.objectives import penalized_loss, split_gradient
    from saner_jax.recipes import (
        RECIPES,
        ae_sam,
        asam,
        asaner,
        friendly_sam,
        friendly_saner,
        gsam,
        gsaner,
        look_sam,
        ncsam,
        sam,
        sam_only,
        sam_without,
        saner,
        simulate_flips,
        sparse_sam,
        stable_sam,
        vasso,
        vasso_saner,
        wsam,
        zsharp,
    )
    from saner_jax.step import (
        MaskDescription,
        PassOutput,
        PerGroupState,
        Policy,
        SharpnessAwareState,
        StepMetrics,
        StepOutput,
        all_but_normalization,
        alpha_warmup,
        at_random,
        describe_mask,
        every_steps,
        is_normalization,
        last_layer,
        look_if,
        metrics_in,
        normalization_only,
        per_device,
        per_group,
        perturbed_params,
        rho_tied_to_learning_rate,
        sharpness_aware,
        smooth_ramp,
        step_metrics,
        synchronized,
        value_and_update,
        where_steep,
    )

__version__ = "0.1.0"

__all__ = [
    "RECIPES",
    "AverageState",
    "MaskDescription",
    "PassOutput",
    "PerGroupState",
    "Policy",
    "SharpnessAwareState",
    "StepMetrics",
    "StepOutput",
    "add_direction",
    "ae_sam",
    "all_but_normalization",
    "alpha_warmup",
    "asam",
    "asaner",
    "at_random",
    "average_directions",
    "climb",
    "damp_shrunk",
    "describe_mask",
    "every_steps",
    "extrapolate",
    "friendly_sam",
    "friendly_saner",
    "gsam",
    "gsaner",
    "is_grown",
    "is_normalization",
    "is_reversed",
    "is_shrunk",
    "keep_origin_length",
    "keep_outliers",
    "last_layer",
    "look_if",
    "look_sam",
    "metrics_in",
    "ncsam",
    "normalization_only",
    "parts",
    "penalized_loss",
    "per_device",
    "per_group",
    "perturbed_params",
    "project_to_radius",
    "remove_orthogonal",
    "restore_origin",
    "reuse_orthogonal",
    "rho_tied_to_learning_rate",
    "sam",
    "sam_only",
    "sam_without",
    "saner",
    "scale_to_adaptive_linf_radius",
    "scale_to_adaptive_radius",
    "scale_to_layerwise_radius",
    "scale_to_linf_radius",
    "scale_to_radius",
    "sharpness_aware",
    "simulate_flips",
    "smooth_ramp",
    "sparse_sam",
    "sparsify",
    "split_gradient",
    "stable_sam",
    "step_metrics",
    "subtract_trend",
    "synchronized",
    "value_and_update",
    "vasso",
    "vasso_saner",
    "where_steep",
    "wsam",
    "zsharp",
]

# Packages whose names are names of this one.
_PACKAGES = ("ascent", "combine", "objectives", "parts", "recipes", "step")


def __getattr__(name: str) -> Any:
    """Import a package when one of its names is first used: a command's help waits for no JAX."""
    if name in _PACKAGES:
        return importlib.import_module(f"saner_jax.{name}")
    if name in __all__:
        for package in _PACKAGES:
            module = importlib.import_module(f"saner_jax.{package}")
            if name in module.__all__:
                globals()[name] = getattr(module, name)
                return globals()[name]
    raise AttributeError(f"module 'saner_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})
