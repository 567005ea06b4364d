"""The options of the commands: dataclasses that import neither JAX nor NumPy.

The help and a wrong option are answered without waiting for them. The public names among these are
those of `saner_jax.experiments` and `saner_jax.label_errors`.
"""

from saner_jax._options._choices import (
    ApplyAs,
    FigureFormat,
    Method,
    Model,
    Noise,
    ObjectiveName,
    OtherTool,
    PerturbMask,
    Pixels,
)
from saner_jax._options._config import (
    CompareConfig,
    Config,
    RunConfig,
    TrainConfig,
    check_options,
    places_of,
    with_places,
)
from saner_jax._options._flat import option_types, option_values, with_options
from saner_jax._options._label_errors import AUTO, NONE, RelabelConfig, SuspectsConfig
from saner_jax._options._parts import (
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
from saner_jax._options._presets import PRESETS
from saner_jax._options._ranges import Count, Range, WholeNumber, check_option

__all__ = [
    "AUTO",
    "NONE",
    "PRESETS",
    "ApplyAs",
    "BudgetOptions",
    "CompareConfig",
    "Config",
    "Count",
    "DataOptions",
    "DeviceOptions",
    "FigureFormat",
    "HeldOutOptions",
    "IntervalOptions",
    "LossOptions",
    "Method",
    "Model",
    "ModelOptions",
    "Noise",
    "NoiseOptions",
    "ObjectiveName",
    "OptimizerOptions",
    "OtherTool",
    "OutputOptions",
    "PerturbMask",
    "PerturbationOptions",
    "PixelOptions",
    "Pixels",
    "PlaceOptions",
    "Range",
    "RelabelConfig",
    "RunConfig",
    "SuspectsConfig",
    "TrainConfig",
    "TrainOutputOptions",
    "WholeNumber",
    "check_option",
    "check_options",
    "option_types",
    "option_values",
    "places_of",
    "with_options",
    "with_places",
]
