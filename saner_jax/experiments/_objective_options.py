"""Build the objective that the command line names, with the papers' strengths where none is given.

Lengths are in epochs here, and in steps in `saner_jax.objectives`.
"""

import inspect
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from saner_jax.experiments._strength_texts import read_number, refuse_unknown, texts_for
from saner_jax.objectives import OBJECTIVES, Objective, estimate_transition, forget_rate, mixup
from saner_jax.training import read_evidence

PLAIN = "plain"
"""The name of the loss on the labels as given."""

_OPTION = "objective_option"
# Shares of the training after which each begins: those of the benchmark on digits. The papers'
# PLC and joint optimization begin earlier.
_STARTS = {
    "selc": 1 / 6,
    "plc": 2 / 15,
    "joint_optimization": 1 / 2,
    "clean_weights": 1 / 6,
    "dynamic_bootstrapping": 1 / 3,
    "dividemix": 1 / 6,
}
_RAMP, _FORGET = 4 / 15, 1 / 6
# The papers' strengths for CIFAR-100; those for CIFAR-10 are the defaults of the functions.
_MANY_CLASSES = {
    "sce": {"alpha": 6.0, "beta": 0.1},
    "nce_rce": {"alpha": 10.0, "beta": 0.1},
    "elr": {"strength": 7.0, "decay": 0.9},
    "dividemix": {"unlabeled_strength": 150.0},
}
_MANY = 50


class Known(NamedTuple):
    """What is known of a run when its objective is built.

    Attributes:
        num_classes: of the labels.
        epochs: of the training.
        steps_per_epoch: updates in an epoch.
        transition: `(c, c)`, the distribution of the given label for each true class, where labels
            were flipped on purpose; None where nobody knows it.
        rate: the share of wrong labels, likewise.
    """

    num_classes: int
    epochs: int
    steps_per_epoch: int
    transition: Any = None
    rate: float | None = None


def objective_options(name: str) -> dict[str, Any]:
    """Return the strengths of an objective that `objective_option` sets, with their defaults.

    Args:
        name: "plain", which has none, or a key of `saner_jax.objectives.OBJECTIVES`.

    Returns:
        Defaults by name; None where the default follows from the data or the length of the run.

    Example:
        >>> objective_options("elr")
        {'strength': None, 'decay': None, 'floor': 0.0001, 'mixup': 0.0}
    """
    if name == PLAIN:
        return {}
    found: dict[str, Any] = {}
    for one in inspect.signature(OBJECTIVES[name]).parameters.values():
        if one.name == "forget":
            found |= {"forget_rate": None, "forget_epochs": None, "forget_exponent": 1.0}
        elif one.name.endswith("_steps"):
            found[one.name.replace("_steps", "_epochs")] = None
        elif one.name not in ("steps_per_epoch", "prior"):
            needs = one.default is inspect.Parameter.empty
            found[one.name] = (
                None if needs or one.name in _MANY_CLASSES.get(name, {}) else one.default
            )
    if "concentration" not in found:
        found["mixup"] = 0.0
    return found


def check_objective(names: tuple[str, ...], given: tuple[str, ...]) -> None:
    """Refuse strengths that no objective has, or that are no numbers.

    Args:
        names: the objectives of the run.
        given: texts "name=value", or "objective:name=value" for one of several.

    Raises:
        ValueError: for the first that cannot be used, in one sentence that names it.

    Example:
        >>> check_objective(("elr",), ("lambda=3",))
        Traceback (most recent call last):
            ...
        ValueError: objective_option 'lambda=3' sets no strength: elr has strength, decay, ...
    """
    refuse_unknown(_OPTION, {name: objective_options(name) for name in names}, given)
    for name in names:
        _read(name, given)


def build_named_objective(name: str, given: tuple[str, ...], known: Known) -> Objective:
    """Build an objective by its name.

    Args:
        name: a key of `saner_jax.objectives.OBJECTIVES`.
        given: strengths, as for `check_objective`.
        known: of the run.

    Returns:
        The objective.

    Raises:
        ValueError: for strengths out of range, and for an objective that needs to know the noise
            rate or the transition matrix of labels that nobody flipped on purpose.

    Example:
        >>> known = Known(num_classes=10, epochs=60, steps_per_epoch=20, rate=0.4)
        >>> build_named_objective("co_teaching", (), known).num_networks
        2
        >>> build_named_objective("co_teaching", (), known._replace(rate=None))
        Traceback (most recent call last):
            ...
        ValueError: objective co_teaching needs to know the share of wrong labels: ...
    """
    strengths = _read(name, given)
    to_steps = lambda epochs: max(round(epochs * known.steps_per_epoch), 0)
    arguments: dict[str, Any] = {}
    papers = _MANY_CLASSES.get(name, {}) if known.num_classes >= _MANY else {}
    for one in inspect.signature(OBJECTIVES[name]).parameters.values():
        key = one.name.replace("_steps", "_epochs")
        if one.name == "steps_per_epoch":
            arguments[one.name] = known.steps_per_epoch
        elif one.name == "forget":
            arguments[one.name] = _forget(name, strengths, known)
        elif one.name == "transition":
            arguments[one.name] = _transition(strengths.get("transition"), known)
        elif key in strengths:
            value = strengths[key]
            arguments[one.name] = to_steps(value) if one.name.endswith("_steps") else value
        elif one.name == "start_steps":
            arguments[one.name] = to_steps(_STARTS[name] * known.epochs)
        elif one.name == "ramp_steps":
            arguments[one.name] = to_steps(_RAMP * known.epochs)
        elif one.name in papers:
            arguments[one.name] = papers[one.name]
    try:
        objective = OBJECTIVES[name](**arguments)
        concentration = strengths.get("mixup", 0.0)
        return mixup(objective, concentration) if concentration else objective
    except (TypeError, ValueError) as error:
        raise ValueError(f"objective_option of {name}: {error}") from error


def _forget(name: str, strengths: dict[str, Any], known: Known) -> Any:
    rate = strengths.get("forget_rate", known.rate)
    if rate is None:
        raise ValueError(
            f"objective {name} needs to know the share of wrong labels: --objective-option"
            " forget_rate=0.2"
        )
    epochs = strengths.get("forget_epochs", _FORGET * known.epochs)
    return forget_rate(
        rate,
        num_steps=round(epochs * known.steps_per_epoch),
        exponent=strengths.get("forget_exponent", 1.0),
    )


def _transition(place: str | None, known: Known) -> Any:
    if place is None:
        if known.transition is None:
            raise ValueError(
                "objective forward_correction needs to know how labels are given:"
                " --objective-option transition=FILE.npy, or =RUN to estimate it from a run"
            )
        return known.transition
    path = Path(place)
    if path.is_dir():
        return estimate_transition(read_evidence(path).probabilities)
    try:
        matrix = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"objective_option transition: {place} is no .npy file: {error}") from None
    if matrix.shape != (known.num_classes, known.num_classes):
        raise ValueError(
            f"objective_option transition: {place} must hold ({known.num_classes},"
            f" {known.num_classes}), got {matrix.shape}"
        )
    return matrix


def _read(name: str, given: tuple[str, ...]) -> dict[str, Any]:
    accepted = objective_options(name)
    return {
        strength: _value(text, strength, value, accepted[strength])
        for strength, (text, value) in texts_for(_OPTION, name, accepted, given).items()
    }


def _value(text: str, strength: str, value: str, default: Any) -> Any:
    if strength == "transition":
        return value
    if isinstance(default, bool):
        if value not in ("true", "false"):
            raise ValueError(f"{_OPTION} {text!r} must be true or false")
        return value == "true"
    return read_number(_OPTION, text, value, is_whole=isinstance(default, int))
