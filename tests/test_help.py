"""The help of the commands: short, the common options first, everything on request."""

import re

import pytest

from saner_jax.cli import main
from saner_jax.experiments import PRESETS, CompareConfig, TrainConfig, option_types
from saner_jax.label_errors import SuspectsConfig
from saner_jax.recipes import RECIPES

SCREEN = 40
COMMANDS = {"train": TrainConfig, "compare": CompareConfig, "suspects": SuspectsConfig}


@pytest.fixture
def shown(capsys, monkeypatch):
    """Return what a command prints on a terminal of 80 columns."""

    def show(*arguments):
        monkeypatch.setenv("COLUMNS", "80")
        assert main(arguments) == 0
        return capsys.readouterr().out

    return show


@pytest.mark.parametrize("name", COMMANDS)
def test_it_fits_three_screens(name, shown):
    lines = shown(name, "--help").splitlines()
    assert len(lines) <= 3 * SCREEN
    assert max(map(len, lines)) <= 80


def test_the_common_options_are_on_the_first_screen(shown):
    text = shown("train", "--help")
    first = "\n".join(text.splitlines()[:SCREEN])
    assert "saner-jax train --dataset photos" in first
    wanted = "preset dataset labels-file image-size model method rho epochs batch-size resume"
    assert all(f"--{name} " in first for name in wanted.split())
    assert all(name in first for name in (*PRESETS, *RECIPES))


@pytest.mark.parametrize(("name", "config"), COMMANDS.items())
@pytest.mark.parametrize("flag", ["--help", "--help-all"])
def test_every_option_is_there_once_with_words(name, config, flag, shown):
    text = shown(name, flag)
    offered = set(option_types(config)) - {*SuspectsConfig.not_offered, "runs"}
    for option in offered:
        flags = re.findall(rf"^  --{option.replace('_', '-')}\b(?!-).*$", text, re.MULTILINE)
        assert len(flags) == 1, option
    assert "{None}" not in text


def test_suspects_does_not_offer_what_it_refuses(shown, capsys):
    text = shown("suspects", "--help-all")
    for option in SuspectsConfig.not_offered:
        assert f"--{option.replace('_', '-')} " not in text
    assert main(["suspects", "--fold", "1"]) == 2
    assert "fold is for saner-jax train alone" in capsys.readouterr().err


def test_a_short_help_tells_all_at_once(shown):
    assert shown("predict", "--help") == shown("predict", "--help-all")
    assert "by held-out" in shown("predict", "-h")


def test_a_preset_changes_the_defaults_that_are_shown(shown):
    assert re.search(r"--epochs N +Passes over the training set \[60\]", shown("train", "--help"))
    text = shown("train", "--preset", "saner-cifar10", "--help")
    assert re.search(r"--epochs N +Passes over the training set \[200\]", text)
    assert "resnet18*" in text


@pytest.mark.parametrize("width", [20, 40, 60, 200])
def test_any_terminal_has_a_help(width, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["train", "--help-all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    # A command line to copy is not broken.
    told = [line for line in lines if not line.startswith("  saner-jax ")]
    assert max(map(len, told)) <= min(max(width, 70), 100)
