"""`saner-jax train`, `evaluate` and `data` write, refuse and resume as documented."""

import json
import random
import shutil
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from interrupted import (
    assert_same_end,
    final,
    rows_of,
    run_process,
    timeless,
    wait_for_an_epoch,
)
from nightly import times
from real_data import CIFAR_N, TFDS, needs_cifar_10, needs_cifar_n

from saner_jax.cli import main
from saner_jax.experiments import PRESETS, TrainConfig, checkpoints_of
from saner_jax.experiments import reopen_training as reopen
from saner_jax.runs import _log as metrics_log
from saner_jax.training import CheckpointError, Checkpoints

pytestmark = pytest.mark.usefixtures("standard_promotion")

TINY = ["--num-train", "200", "--hidden-widths", "8", "--epochs", "4", "--batch-size", "32"]
TINY += ["--validation-fraction", "0.1"]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(*arguments):
    return main(["train", *TINY, *arguments, "--output-folder", "run"])


@pytest.mark.slow
def test_a_run_keeps_what_it_did(capsys):
    assert train() == 0
    out, err = capsys.readouterr()
    assert "saner" in out
    assert "digits: 180 training examples" in err
    kept = sorted(path.name for path in Path("run").iterdir())
    files = ["config.json", "curves.png", "history.npz", "metrics.jsonl", "model.json"]
    files += ["results.json"]
    assert kept == ["checkpoints", *files]
    rows = rows_of("run")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert set(rows[-1]) == {
        *("epoch", "step", "loss", "learning_rate", "rho", "alpha", "images_per_second"),
        *("origin_grad_norm", "perturbed_grad_norm", "perturbation_norm", "cosine"),
        *("shrunk", "grown", "reversed", "zero"),
        *("train_loss", "train_accuracy", "clean_fit", "memorized", "corrected"),
        *("test_loss", "test_accuracy", "validation_accuracy"),
    }
    assert rows[0]["perturbation_norm"] == pytest.approx(0.1, rel=1e-5)
    assert rows[0]["alpha"] < rows[-1]["alpha"] == 0.5
    results = json.loads(Path("run/results.json").read_text())
    assert results["complete"]
    best = max(rows, key=lambda row: row["validation_accuracy"])
    assert results["chosen_epoch"] == best["epoch"]
    final_shares = results["methods"]["saner"]["final"]
    assert final_shares["test_accuracy_chosen"] == [best["test_accuracy"]]
    assert final_shares["test_accuracy_last"] == [rows[-1]["test_accuracy"]]


@pytest.mark.slow
def test_the_evaluation_of_the_last_checkpoint_is_the_last_row(capsys):
    assert train() == 0
    capsys.readouterr()
    assert main(["evaluate", "run"]) == 0
    out = capsys.readouterr().out
    row = rows_of("run")[-1]
    assert f"{100 * row['test_accuracy']:.2f}" in out
    assert f"{100 * row['memorized']:.2f}" in out
    assert f"{row['validation_accuracy']:.2%}"[:-1] in out
    assert f"step {row['step']}." in out
    assert main(["evaluate", "run", "--checkpoint", "best"]) == 0


@pytest.mark.slow
def test_a_run_that_held_nothing_out_has_no_best_checkpoint(capsys):
    assert train("--validation-fraction", "0") == 0
    assert main(["evaluate", "run", "--checkpoint", "best"]) == 2
    assert "this run held out no examples" in capsys.readouterr().err


@pytest.mark.long
def test_evaluations_and_checkpoints_come_as_often_as_asked():
    assert train("--evaluate-every-epochs", "3", "--checkpoint-every-epochs", "2") == 0
    rows = rows_of("run")
    assert [row["epoch"] for row in rows if "test_accuracy" in row] == [3, 4]
    assert len(rows) == 4
    assert checkpoints_of(reopen(Path("run")))[0].steps() == [10, 20]


@pytest.mark.long
def test_steps_in_one_program_are_the_steps_one_by_one():
    assert train("--steps-per-dispatch", "1") == 0
    shutil.move("run", "one")
    assert train("--steps-per-dispatch", "3") == 0
    (_, a), (_, b) = final("one"), final("run")
    for x, y in zip(jax.tree.leaves(a.state.params), jax.tree.leaves(b.state.params), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "steps_per_dispatch", "step"),
    [(signal.SIGTERM, "1", 11), (signal.SIGINT, "2", 12), (signal.SIGTERM, "5", 15)],
    ids=["first step", "middle", "last step of an epoch"],
)
def test_a_signal_is_answered_by_a_checkpoint_and_the_end_is_the_same(
    signum, steps_per_dispatch, step, monkeypatch, capsys
):
    assert train("--steps-per-dispatch", steps_per_dispatch) == 0
    shutil.move("run", "whole")
    from saner_jax.training import _loop as fitting

    steps = []

    def batch_order(*arguments, epoch, **options):
        order = original(*arguments, epoch=epoch, **options)
        # The signal arrives during the first dispatch of the third epoch.
        if epoch == 2 and not steps:
            steps.append(epoch)
            signal.raise_signal(signum)
        return order

    original = fitting.batch_order
    monkeypatch.setattr(fitting, "batch_order", batch_order)
    assert train("--steps-per-dispatch", steps_per_dispatch) == 128 + signum
    err = capsys.readouterr().err
    assert f"stopped at step {step} by {signal.Signals(signum).name}" in err
    assert "saner-jax train --resume run goes on" in err
    assert not Path("run/results.json").exists()
    assert main(["train", "--resume", "run"]) == 0
    assert f"goes on from step {step}" in capsys.readouterr().err
    assert_same_end("whole", "run")


@pytest.mark.long
def test_a_complete_run_has_nothing_left_to_do(capsys):
    assert train() == 0
    before = rows_of("run")
    assert main(["train", "--resume", "run"]) == 0
    assert rows_of("run") == before


@pytest.mark.long
def test_a_run_without_its_first_checkpoint_starts_over(capsys):
    assert train() == 0
    shutil.copytree("run", "whole")
    shutil.rmtree("run/checkpoints")
    assert main(["train", "--resume", "run"]) == 0
    assert_same_end("whole", "run")


def damaged(how, folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    data = max((path for path in files if path.parent.name == "d"), key=lambda p: p.stat().st_size)
    if how == "flipped":
        content = bytearray(data.read_bytes())
        content[len(content) // 2] ^= 0xFF
        data.write_bytes(bytes(content))
    elif how == "truncated":
        data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    elif how == "half of its files":
        for path in files[::2]:
            path.unlink()
    elif how == "empty":
        for path in files:
            path.write_bytes(b"")
    elif how == "not json":
        (folder / "about" / "metadata").write_text("{")


# TensorStore's threads call back even after a read has failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "how",
    [
        pytest.param("flipped", marks=pytest.mark.slow),
        *(
            pytest.param(how, marks=pytest.mark.long)
            for how in ("truncated", "half of its files", "empty", "not json")
        ),
    ],
)
def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_used(how, capsys):
    assert train() == 0
    shutil.copytree("run", "whole")
    damaged(how, Path("run/checkpoints/last/20"))
    capsys.readouterr()
    assert main(["train", "--resume", "run"]) == 0
    err = capsys.readouterr().err
    assert "run/checkpoints/last/20: " in err
    assert "goes on from step 15" in err
    assert_same_end("whole", "run")


def test_a_half_written_checkpoint_is_not_seen():
    checkpoints = Checkpoints(Path("c"), {}, keep=2)
    checkpoints.save(1, {"w": np.ones(3)}, {})
    shutil.copytree("c/1", "c/2.orbax-checkpoint-tmp-7")
    assert Checkpoints(Path("c"), {}, keep=2).steps() == [1]


@pytest.mark.slow
def test_checkpoints_of_another_run_are_refused(capsys):
    assert train("--seed", "1") == 0
    shutil.move("run", "other")
    assert train() == 0
    shutil.rmtree("run/checkpoints")
    shutil.copytree("other/checkpoints", "run/checkpoints")
    capsys.readouterr()
    assert main(["train", "--resume", "run"]) == 2
    err = capsys.readouterr().err
    assert "it belongs to a run with another seed, 1 instead of 0" in err
    assert "no checkpoint here can be used" in err


def test_a_checkpoint_of_another_shape_is_refused():
    checkpoints = Checkpoints(Path("c"), {}, keep=1)
    checkpoints.save(1, {"w": np.ones(3)}, {})
    with pytest.raises(CheckpointError, match="c/1: its arrays"):
        checkpoints.restore(1, {"w": np.ones(4), "v": np.ones(1)})


@pytest.mark.slow
def test_a_diverged_run_ends_with_the_step_and_what_is_left(capsys):
    assert train("--learning-rate", "1e30", "--method", "sgd") == 1
    err = capsys.readouterr().err
    assert "the loss was not finite at step " in err.splitlines()[-1]
    assert "no checkpoint before it" in err
    assert not Path("run/results.json").exists()


@pytest.mark.slow
def test_presets_are_options_that_can_be_overridden(capsys):
    for preset in PRESETS.values():
        assert isinstance(preset, TrainConfig)
    assert main(["train", "--preset", "saner-cifar10", "--data-dir", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
    small = ["--dataset", "digits", "--model", "mlp", "--crop-padding", "1"]
    assert main(["train", "--preset=saner-cifar10", *small, *TINY, "--output-folder", "run"]) == 0
    config = json.loads(Path("run/config.json").read_text())
    assert config["learning_rate"] == 0.1
    assert config["schedule"] == "multistep"
    assert rows_of("run")[-1]["learning_rate"] == pytest.approx(0.001)


BAD_OPTIONS = {
    "--rate 1.5": "rate must be a number from 0 to 1, got 1.5",
    "--rate nan": "rate must be a number from 0 to 1, got nan",
    "--rho -1": "rho must be a number of at least 0",
    "--alpha 2": "alpha must be a number from 0 to 1",
    "--alpha-warmup-fraction 1.1": "alpha_warmup_fraction must be a number from 0 to 1",
    "--learning-rate inf": "learning_rate must be a number of at least 0",
    "--momentum 1": "momentum must be below 1",
    "--weight-decay x": "weight_decay must be a number of at least 0, got 'x'",
    "--epochs 0": "epochs must be a whole number of at least 1",
    "--batch-size 5000": "batch_size must be at most 1437, the number of examples of digits",
    "--num-train 2000": "num_train must be at most 1437",
    "--num-train 0": "num_train must be a whole number of at least 1",
    "--validation-fraction 1": "validation_fraction must be below 1",
    "--warmup-epochs 60": "warmup_epochs must be below epochs",
    "--noise salt": "noise must be one of none, symmetric",
    "--noise human:worse": "noise_dir must name the folder of CIFAR-N",
    "--noise human:worse --noise-dir nowhere": "",
    "--noise asymmetric_cifar100_next": "",
    "--method adam": "method must be one of sgd, sam",
    "--method ncsam": "method must be among those whose gradients the trainer computes, got",
    "--base lion": "base must be one of sgd, adamw",
    "--schedule steps": "schedule must be one of cosine, multistep, constant",
    "--model resnet19": "model must be one of mlp",
    "--model resnet8 --norm batchnorm": "norm",
    "--model resnet8 --width 0": "width must be above 0",
    "--model vit_tiny --norm batch": "norm",
    "--hidden-widths 0": "hidden_widths must be whole numbers of at least 1",
    "--precision float8": "precision must be one of float32, bfloat16",
    "--pixels raw": "pixels must be one of centered, standardized",
    "--statistics-from both": "statistics_from must be one of origin, perturbed",
    "--perturb-mask norms": "perturb_mask must be one of all, normalization_only",
    "--perturb-mask normalization_only": "perturb_mask normalization_only selects nothing in",
    "--crop-padding -1": "crop_padding must be a whole number of at least 0",
    "--cutout-size 1.5": "cutout_size must be a whole number of at least 0",
    "--steps-per-dispatch 0": "steps_per_dispatch must be a whole number of at least 1",
    "--devices 9": "devices must be at most 8, the number of devices of kind cpu",
    "--devices 0": "devices must be a whole number of at least 1",
    "--devices 3": "batch_size must be a multiple of 3, the number of devices, got 64",
    "--num-processes 2": "num_processes and process_id need coordinator",
    "--seed -1": "seed must be a whole number of at least 0",
    "--dataset mnist": "dataset",
    "--dataset cifar10 --data-dir nowhere": "",
    "--dataset a.npz": "a.npz: there is no such file",
    "--output-folder .": "output_folder '.' exists",
    "--output-folder /dev/null/x": "output_folder '/dev/null/x' cannot be made",
    "--resume nowhere": "nowhere/config.json: not the options of a run of saner-jax train",
    "--resume nowhere --epochs 3": "resume goes on with the run's own options",
    "--preset imagenet": "preset must be one of saner-cifar10",
    "--preset": "--preset lacks its value",
    "--epoch 3": "no option '--epoch'",
    "--rho": "an option lacks its value",
}


@pytest.mark.parametrize("arguments", BAD_OPTIONS)
def test_a_bad_option_is_refused_in_a_sentence_and_nothing_is_written(arguments, tmp_path, capsys):
    assert main(["train", *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("saner-jax train: ")
    assert err.count("\n") == 1
    assert BAD_OPTIONS[arguments] in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("evaluate", "run must name a folder of saner-jax train"),
        ("evaluate nowhere", "nowhere/config.json: not the options of a run"),
        ("evaluate nowhere --checkpoint first", "checkpoint must be one of last, best"),
        ("data", "the action must be one of check, prepare, show, got none"),
        ("data upload", "the action must be one of check, prepare, show, got 'upload'"),
        ("data prepare --dataset mnist", "dataset must be one of cifar10, cifar100, got 'mnist'"),
        ("data prepare --archive a.tar.gz --data-dir d", "a.tar.gz"),
        ("data show --rate 2", "rate must be a number from 0 to 1"),
        ("data show --rate 0 --picture a.png", "picture has nothing to show"),
    ],
)
def test_the_other_commands_refuse_in_a_sentence_too(arguments, words, tmp_path, capsys):
    assert main(arguments.split()) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert words in err
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@pytest.mark.slow
def test_a_dataset_is_shown_with_its_noise(capsys):
    assert main(["data", "show", "--noise", "pair", "--picture", "a.png"]) == 0
    out = capsys.readouterr().out
    assert "1,437 training examples and 360 test examples of 8 x 8 x 1, 10 classes" in out
    assert "574 labels flipped, 39.94% of all" in out
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.long
def test_best_is_the_best_by_noisy_validation_and_no_validation_keeps_none():
    assert train("--validation-fraction", "0") == 0
    assert not checkpoints_of(reopen(Path("run")))[1].steps()
    assert "validation_accuracy" not in rows_of("run")[-1]


@pytest.mark.long
def test_tensorboard_gets_every_number(monkeypatch):
    scalars, num_flushed = [], []

    class Writer:
        def __init__(self, folder, purge_step):
            # Events behind the step that a run goes on from are those of a killed part.
            assert (folder, purge_step) == ("run", 1)

        def add_scalar(self, name, value, step):
            scalars.append((name, value, step))

        def flush(self):
            num_flushed.append(len(scalars))

        def close(self):
            scalars.append("closed")

    monkeypatch.setattr("tensorboardX.SummaryWriter", Writer)
    assert train("--tensorboard") == 0
    rows = rows_of("run")
    assert scalars.pop() == "closed"
    expected = [(k, v, row["step"]) for row in rows for k, v in row.items() if k != "step"]
    assert scalars == expected
    assert len(num_flushed) == len(rows)
    assert num_flushed[-1] == len(scalars)


def test_tensorboard_writes_events(tmp_path):
    with metrics_log.open_log(tmp_path / "metrics.jsonl", tensorboard=True) as log:
        log({"step": 3, "loss": 0.5})
    events = next(tmp_path.glob("events.out.tfevents.*"))
    assert b"loss" in events.read_bytes()


def test_without_tensorboardx_a_sentence_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if "board" in name else True)
    assert train("--tensorboard") == 2
    assert 'pip install "saner-jax[tensorboard]"' in capsys.readouterr().err


DIGITS = (
    "--model resnet8 --width 0.25 --num-train 300 --batch-size 64 --flip"
    " --crop-padding 1 --evaluate-every-epochs 20"
)
WORSE = (
    f"--dataset cifar10 --data-dir {TFDS} --noise human:worse --noise-dir {CIFAR_N}"
    " --model resnet8 --width 0.25 --num-train 500 --batch-size 64 --flip"
    " --evaluate-every-epochs 50"
)


# Every fifth process is killed while it starts, the others at least an epoch later.
@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "epochs_per_kill"),
    [(DIGITS, 6), pytest.param(WORSE, 5, marks=[needs_cifar_10, needs_cifar_n])],
    ids=["digits", "cifar10-human-worse"],
)
def test_killed_at_random_a_run_ends_as_if_it_had_not_been(
    arguments, epochs_per_kill, tmp_path, capsys, record_property
):
    kills = times(10, 50) if arguments is DIGITS else 10
    arguments = [*arguments.split(), "--epochs", str(epochs_per_kill * kills)]
    cache = tmp_path / "cache"
    whole = run_process(*arguments, "--output-folder", "whole", cache=cache)
    assert whole.wait() == 0, Path("stderr").read_text()
    expected = timeless(rows_of("whole"))
    rng = random.Random(0)
    codes, right = [], 0
    process = run_process(*arguments, "--output-folder", "run", cache=cache)
    log = Path("run/metrics.jsonl")
    while len(codes) < kills:
        if len(codes) % 5 == 4:
            time.sleep(rng.uniform(0, 6))
        else:
            wait_for_an_epoch(process, log)
            time.sleep(rng.uniform(0, 0.8))
        if process.poll() is not None:
            break
        process.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM]))
        codes.append(process.wait())
        rows = timeless(rows_of("run"))
        right += rows == expected[: len(rows)]
        process = run_process("--resume", "run", cache=cache)
    assert process.wait() == 0, Path("stderr").read_text()
    record_property("tried", len(codes))
    record_property("right", right)
    assert right == len(codes) == kills, f"the run was over after {codes}"
    assert {-signal.SIGKILL, 128 + signal.SIGTERM} <= set(codes)
    assert_same_end("whole", "run")
