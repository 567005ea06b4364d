"""The checks of the options of `saner-jax train` and `compare`."""

from saner_jax._options import CompareConfig, Method, RunConfig, TrainConfig, check_options
from saner_jax.experiments._objective_options import check_objective
from saner_jax.experiments._recipe_options import check_recipe_options


def check_compare(config: CompareConfig) -> None:
    """Refuse options of `saner-jax compare` out of range.

    Args:
        config: the options.

    Raises:
        ValueError: for the first option out of range, in one sentence that names it.

    Example:
        >>> check_compare(CompareConfig.of(rate=1.5))
        Traceback (most recent call last):
            ...
        ValueError: rate must be a number from 0 to 1, got 1.5
    """
    check_options(config)
    _check_warmup(config)
    if config.first_seed + config.seeds > 2**32:
        raise ValueError(f"first_seed must leave all seeds below 2**32, got {config.first_seed!r}")
    if not config.methods or len(set(config.methods)) < len(config.methods):
        raise ValueError("methods must name at least one method, and none of them twice")
    _check_methods("methods", config.methods)
    check_recipe_options(config.methods, config.perturbation.method_option)
    if len(set(config.objectives)) < len(config.objectives):
        raise ValueError("objectives must name none of them twice")
    check_objective(config.all_objectives, config.objective.objective_option)


def check_train(config: TrainConfig) -> None:
    """Refuse options of `saner-jax train` out of range.

    Args:
        config: the options.

    Raises:
        ValueError: for the first option out of range, in one sentence that names it.

    Example:
        >>> check_train(TrainConfig.of(validation_fraction=1.0))
        Traceback (most recent call last):
            ...
        ValueError: validation_fraction must be below 1, got 1.0
    """
    check_options(config)
    _check_warmup(config)
    held_out, devices = config.held_out, config.devices
    if held_out.num_folds == 1:
        raise ValueError("num_folds must be 0, or at least 2 to leave something to train on")
    if held_out.fold >= max(held_out.num_folds, 1):
        raise ValueError(
            f"fold must be below num_folds, got {held_out.fold} of {held_out.num_folds}"
        )
    if devices.coordinator is None and (devices.num_processes, devices.process_id) != (None, None):
        raise ValueError("num_processes and process_id need coordinator")
    _check_methods("method", (config.method,))
    check_recipe_options((config.method,), config.perturbation.method_option)
    check_objective((config.objective.objective,), config.objective.objective_option)


def _check_warmup(config: RunConfig) -> None:
    warmup_epochs, epochs = config.optimizer.warmup_epochs, config.budget.epochs
    if warmup_epochs >= epochs:
        raise ValueError(f"warmup_epochs must be below epochs, got {warmup_epochs!r} of {epochs}")


def _check_methods(name: str, methods: tuple[Method, ...]) -> None:
    """Refuse methods that the trainer cannot run."""
    if "ncsam" in methods:
        raise ValueError(
            f"{name} must be among those whose gradients the trainer computes, got 'ncsam', which "
            "also needs those on simulated wrong labels; call saner_jax.ncsam in your own loop"
        )
