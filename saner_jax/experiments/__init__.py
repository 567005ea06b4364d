"""From options to runs: data, noise, model and optimizer by name, trained or compared."""

from saner_jax.experiments._build import (
    build_loss,
    build_model,
    build_optimizer,
    initial_variables,
    input_functions,
    perturbed_parameters,
)
from saner_jax.experiments._choices import Method, Model, Noise, PerturbMask, Pixels
from saner_jax.experiments._compare import prepare_comparison, run_comparison
from saner_jax.experiments._config import (
    CompareConfig,
    RunConfig,
    TrainConfig,
    check_compare,
    check_options,
    check_train,
    places_of,
    with_places,
)
from saner_jax.experiments._evaluate import Evaluation, evaluate_run
from saner_jax.experiments._examples import (
    inspect_data,
    load_data,
    split_rows,
    write_left_out,
)
from saner_jax.experiments._flat import option_types, option_values, with_options
from saner_jax.experiments._many_seeds import (
    ComparisonJob,
    EpochRecord,
    OnEpoch,
    initial_params,
    train_all_seeds,
)
from saner_jax.experiments._noise import draw_noise, resolve_noise, with_noise
from saner_jax.experiments._parts import (
    BudgetOptions,
    DataOptions,
    DeviceOptions,
    HeldOutOptions,
    IntervalOptions,
    LossOptions,
    ModelOptions,
    NoiseOptions,
    OptimizerOptions,
    OutputOptions,
    PerturbationOptions,
    PixelOptions,
    PlaceOptions,
    TrainOutputOptions,
)
from saner_jax.experiments._prepare import (
    TrainingJob,
    prepare_training,
    read_options,
    reopen_training,
)
from saner_jax.experiments._presets import PRESETS
from saner_jax.experiments._ranges import Count, Range, WholeNumber, check_option
from saner_jax.experiments._run import checkpoints_of, run_training, train_to_end
from saner_jax.experiments._trained_run import TrainedRun, export_run, load_run

__all__ = [
    "PRESETS",
    "BudgetOptions",
    "CompareConfig",
    "ComparisonJob",
    "Count",
    "DataOptions",
    "DeviceOptions",
    "EpochRecord",
    "Evaluation",
    "HeldOutOptions",
    "IntervalOptions",
    "LossOptions",
    "Method",
    "Model",
    "ModelOptions",
    "Noise",
    "NoiseOptions",
    "OnEpoch",
    "OptimizerOptions",
    "OutputOptions",
    "PerturbMask",
    "PerturbationOptions",
    "PixelOptions",
    "Pixels",
    "PlaceOptions",
    "Range",
    "RunConfig",
    "TrainConfig",
    "TrainOutputOptions",
    "TrainedRun",
    "TrainingJob",
    "WholeNumber",
    "build_loss",
    "build_model",
    "build_optimizer",
    "check_compare",
    "check_option",
    "check_options",
    "check_train",
    "checkpoints_of",
    "draw_noise",
    "evaluate_run",
    "export_run",
    "initial_params",
    "initial_variables",
    "input_functions",
    "inspect_data",
    "load_data",
    "load_run",
    "option_types",
    "option_values",
    "perturbed_parameters",
    "places_of",
    "prepare_comparison",
    "prepare_training",
    "read_options",
    "reopen_training",
    "resolve_noise",
    "run_comparison",
    "run_training",
    "split_rows",
    "train_all_seeds",
    "train_to_end",
    "with_noise",
    "with_options",
    "with_places",
    "write_left_out",
]
