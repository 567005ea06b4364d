"""The options of `saner-jax train` and `compare`."""

from dataclasses import dataclass
from typing import Any, Self, TypeVar

from tyro.conf import OmitArgPrefixes

from saner_jax._options._choices import Method, ObjectiveName
from saner_jax._options._flat import option_types, option_values, with_options
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
from saner_jax._options._ranges import Count, Seed, WholeNumber, check_option


@dataclass(frozen=True)
class RunConfig:
    """The options that training and comparing share, by topic."""

    data: OmitArgPrefixes[DataOptions] = DataOptions()
    """The examples."""
    noise: OmitArgPrefixes[NoiseOptions] = NoiseOptions()
    """The wrong labels among the training labels."""
    model: OmitArgPrefixes[ModelOptions] = ModelOptions()
    """The model."""
    inputs: OmitArgPrefixes[PixelOptions] = PixelOptions()
    """The inputs of the model."""
    objective: OmitArgPrefixes[LossOptions] = LossOptions()
    """What is trained on."""
    perturbation: OmitArgPrefixes[PerturbationOptions] = PerturbationOptions()
    """The perturbation of SAM and the damping of SANER."""
    optimizer: OmitArgPrefixes[OptimizerOptions] = OptimizerOptions()
    """The base optimizer and its learning rate."""
    budget: OmitArgPrefixes[BudgetOptions] = BudgetOptions()
    """The length of training."""

    @classmethod
    def of(cls, **options: Any) -> Self:
        """Return the defaults with some options replaced, by their names on the command line.

        Args:
            **options: values by name, with underscores.

        Returns:
            The config. Ranges are not checked.

        Raises:
            TypeError: for a name that is no option.

        Example:
            >>> TrainConfig.of(epochs=3, rho=0.3).budget.epochs
            3
        """
        return with_options(cls(), **options)


Config = TypeVar("Config", bound=RunConfig)


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """Train one model with one method on noisy labels, keeping checkpoints to resume from."""

    method: Method = "saner"
    """Recipe; sgd is the base alone. ncsam is refused, because it needs another gradient."""
    seed: Seed = 0
    """Seed of the run. It gives the noise, the initial parameters, the order and the
    augmentation."""
    per_device_perturbation: bool = False
    """Perturb on each device by its own examples. Each perturbs and normalizes by its own share of
    the batch; otherwise there is one perturbation from the whole batch, the same on any number of
    devices."""
    held_out: OmitArgPrefixes[HeldOutOptions] = HeldOutOptions()
    """The training examples that are held out, with their noisy labels."""
    intervals: OmitArgPrefixes[IntervalOptions] = IntervalOptions()
    """How often a run evaluates, saves, and returns from the device."""
    devices: OmitArgPrefixes[DeviceOptions] = DeviceOptions()
    """Devices and processes; they may change from one part of a run to the next."""
    output: OmitArgPrefixes[TrainOutputOptions] = TrainOutputOptions()
    """Where the results go."""


@dataclass(frozen=True)
class CompareConfig(RunConfig):
    """Train each method on the same noisy labels and tabulate accuracy and memorization."""

    methods: tuple[Method, ...] = ("sgd", "sam", "saner")
    """Methods to compare: sgd, or any recipe that saner-jax train takes."""
    objectives: tuple[ObjectiveName, ...] = ()
    """Objectives to compare, each with every method. The option objective alone if not given."""
    seeds: Count = 5
    """How many runs per method. Each has its own noise, initialization and order, the same for
    every method."""
    first_seed: WholeNumber = 0
    """Seed of the first run. The others follow by one."""
    output: OmitArgPrefixes[OutputOptions] = OutputOptions()
    """Where the results go."""

    @property
    def all_objectives(self) -> tuple[ObjectiveName, ...]:
        """The objective of every row."""
        return self.objectives or (self.objective.objective,)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seed of every run."""
        return tuple(range(self.first_seed, self.first_seed + self.seeds))


def places_of(config: RunConfig) -> PlaceOptions:
    """Return the places of the data that a config names, without those that are its defaults.

    Args:
        config: the options of a command that goes on with a run.

    Returns:
        The places; None where the run's own serve.

    Example:
        >>> places_of(TrainConfig.of(dataset="moved"))
        PlaceOptions(dataset='moved', data_dir=None, noise_dir=None, labels_file=None,
        labels_from=None, stream=None, cache_dir=None)
    """
    given, defaults = option_values(config), option_values(RunConfig())
    names = option_types(PlaceOptions)
    return PlaceOptions(**{name: given[name] for name in names if given[name] != defaults[name]})


def with_places(config: Config, places: PlaceOptions) -> Config:
    """Return a config whose data are in other places.

    Args:
        config: the options of a run.
        places: of its data. What it leaves as None is as in the config.

    Returns:
        The new config.

    Example:
        >>> with_places(TrainConfig.of(epochs=3), PlaceOptions("moved")).data.dataset
        'moved'
    """
    given = {name: place for name, place in option_values(places).items() if place is not None}
    return with_options(config, **given)


def check_options(config: Any) -> None:
    """Refuse the first option outside the choices or the range of its type.

    Args:
        config: a dataclass of options, or of options and parts.

    Raises:
        ValueError: in one sentence that names the option.
    """
    values = option_values(config)
    for name, kind in option_types(type(config)).items():
        check_option(name, kind, values[name])
