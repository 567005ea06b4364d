"""Options are saved to and read from config.json, and types list their choices."""

import dataclasses
import json
from pathlib import Path
from typing import get_args

import pytest

import saner_jax
from saner_jax.data.noise import NOISE_TYPES
from saner_jax.experiments import (
    CompareConfig,
    Method,
    Model,
    Noise,
    PerturbMask,
    TrainConfig,
    check_train,
    option_types,
    option_values,
    with_options,
)
from saner_jax.experiments._saved_options import options_from_json, options_to_json
from saner_jax.label_errors import SuspectsConfig
from saner_jax.models import FINE_TUNED, MODELS
from saner_jax.step import MASKS

GIVEN = TrainConfig.of(
    data_dir=Path("data"),
    noise_dir=Path("n"),
    hidden_widths=(8, 4),
    norm="layer",
    num_train=7,
    rho=1,
)


def through_json(options):
    return json.loads(json.dumps(options_to_json(options)))


@pytest.mark.parametrize("options", [TrainConfig(), GIVEN], ids=["default", "given"])
def test_options_come_back_with_their_types(options):
    back = options_from_json(TrainConfig, through_json(options))
    assert back == options
    old, new = option_values(options), option_values(back)
    assert {name: type(value) for name, value in new.items()} == {
        name: type(value) for name, value in old.items()
    }


def test_a_new_path_comes_back_as_a_path():
    @dataclasses.dataclass(frozen=True)
    class Newer(TrainConfig):
        features: Path | None = None
        tables: tuple[Path, ...] = ()

    options = Newer(features=Path("a.npy"), tables=(Path("b"), Path("c")))
    assert options_from_json(Newer, through_json(options)) == options


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": 99}, "the version of its options must be 1, got 99"),
        ({"rho": "large"}, "rho must be a number, got 'large'"),
        ({"seed": True}, "seed must be a whole number, got True"),
        ({"hidden_widths": 8}, "hidden_widths must be a list"),
        ({"data_dir": 3}, "data_dir must be text, got 3"),
        ({"wings": 2}, "wings is no option"),
    ],
)
def test_other_values_are_refused_in_a_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        options_from_json(TrainConfig, through_json(TrainConfig()) | change)


def test_a_number_too_large_for_a_float_is_left_to_the_check():
    options = options_from_json(TrainConfig, through_json(TrainConfig()) | {"rho": 10**400})
    with pytest.raises(ValueError, match="rho must be a number of at least 0"):
        check_train(options)


def test_a_missing_option_is_named():
    values = through_json(TrainConfig())
    del values["rho"]
    with pytest.raises(ValueError, match="it lacks the option rho"):
        options_from_json(TrainConfig, values)


@pytest.mark.parametrize("kind", [TrainConfig, CompareConfig, SuspectsConfig])
def test_no_two_options_share_a_name(kind):
    names = []
    for field in dataclasses.fields(kind):
        value = getattr(kind(), field.name)
        is_part = dataclasses.is_dataclass(value)
        names += [one.name for one in dataclasses.fields(value)] if is_part else [field.name]
    assert len(set(names)) == len(names)
    assert set(names) == option_types(kind).keys()


def test_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="TrainConfig has no option 'rh0'"):
        with_options(TrainConfig(), rh0=1)


def test_the_choices_are_those_of_the_catalogues():
    assert set(get_args(Method)) == {"sgd", *saner_jax.RECIPES}
    assert set(get_args(Model)) == {*MODELS, *FINE_TUNED}
    assert set(get_args(PerturbMask)) == set(MASKS)
    human = {name for name in get_args(Noise) if name.startswith("human:")}
    assert set(get_args(Noise)) - human == {*NOISE_TYPES, "instance", "file", "none"}
