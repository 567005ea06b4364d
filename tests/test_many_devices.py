"""Training on several devices or in two processes equals training on one device."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P
from PIL import Image

from saner_jax import per_device, saner
from saner_jax.cli import main
from saner_jax.models import build, forward_of
from saner_jax.objectives import cross_entropy
from saner_jax.training import (
    Budget,
    Checkpoints,
    Examples,
    InputFunctions,
    Minibatches,
    Optimizer,
    Splits,
    Task,
    batch_order,
    init_state,
    init_totals,
    make_device_mesh,
    make_dispatch,
    make_train_step,
)

pytestmark = pytest.mark.usefixtures("standard_promotion")

SMALL = ["--num-train", "320", "--hidden-widths", "16", "--batch-size", "32", "--rho", "0.3"]
SMALL += ["--validation-fraction", "0.1"]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def last_row(folder):
    return json.loads(Path(folder, "metrics.jsonl").read_text().splitlines()[-1])


def assert_same_training(one, other):
    one, other = last_row(one), last_row(other)
    assert one.keys() == other.keys()
    for name in one.keys() - {"images_per_second"}:
        assert one[name] == pytest.approx(other[name], rel=1e-4, abs=1e-5), name


@pytest.mark.slow
def test_eight_devices_train_as_one_and_each_for_itself_otherwise():
    for folder, options in {
        "one": [],
        "eight": ["--devices", "8"],
        "each": ["--devices", "8", "--per-device-perturbation"],
    }.items():
        assert main(["train", *SMALL, *options, "--epochs", "3", "--output-folder", folder]) == 0
    assert_same_training("one", "eight")
    assert abs(last_row("one")["shrunk"] - last_row("each")["shrunk"]) > 0.01
    # A checkpoint is evaluated on one device, for any number of training devices.
    assert main(["evaluate", "each"]) == 0


@pytest.mark.slow
def test_a_run_goes_on_on_another_number_of_devices_where_that_changes_nothing(capsys):
    def begun(folder, *options):
        common = [*SMALL, "--checkpoint-every-epochs", "2", *options]
        assert main(["train", *common, "--epochs", "4", "--output-folder", folder]) == 0
        # Remove the last checkpoint, so that the run resumes from the middle one.
        Checkpoints(Path(folder, "checkpoints/last"), {}, keep=2)._manager.delete(36)

    begun("whole")
    begun("parts", "--devices", "4")
    assert main(["train", "--resume", "parts", "--devices", "2"]) == 0
    assert main(["train", "--resume", "whole"]) == 0
    assert_same_training("whole", "parts")
    begun("each", "--devices", "4", "--per-device-perturbation")
    capsys.readouterr()
    assert main(["train", "--resume", "each", "--devices", "2"]) == 2
    assert "with another number of devices, 4 instead of 2" in capsys.readouterr().err


@pytest.mark.slow
def test_a_step_per_device_is_the_mean_of_the_devices_steps():
    """With batch normalization, each device uses its share's statistics; the mean is kept."""
    model = build("resnet8", 3, norm="batch", width=0.25)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(16, 8, 8, 3)).astype(np.float32)
    labels = rng.integers(0, 3, 16).astype(np.int32)
    variables = dict(jax.jit(model.init)(jax.random.key(0), images[:1]))
    params, forward = variables.pop("params"), forward_of(model)
    mesh = make_device_mesh(4)

    def state_and_step(recipe, axis_name):
        tx = optax.chain(recipe, optax.sgd(0.1))
        step = make_train_step(forward, cross_entropy, tx, axis_name=axis_name)
        return init_state(params, tx, variables), step

    state, step = state_and_step(per_device(saner(0.3, metrics=True), "data"), "data")
    parallel = jax.shard_map(
        step, mesh=mesh.mesh, in_specs=(P(), P("data"), P("data")), out_specs=P()
    )
    together = jax.block_until_ready(jax.jit(parallel)(state, images, labels))
    state, step = state_and_step(saner(0.3, metrics=True), None)
    alone = jax.jit(step)
    each = [alone(state, images[at : at + 4], labels[at : at + 4]) for at in range(0, 16, 4)]
    mean = jax.tree.map(lambda *leaves: sum(leaves) / 4, *each)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    jax.tree.map(close, together, mean)


def two_processes(*arguments):
    """Start two processes of two devices each that train together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
    command = [sys.executable, "-m", "saner_jax.cli", "train", *arguments, "--devices", "2"]
    command += ["--coordinator", f"127.0.0.1:{port}", "--num-processes", "2", "--process-id"]
    return [
        subprocess.Popen(
            [*command, str(index)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]


@pytest.mark.slow
def test_two_processes_train_as_one_and_the_first_alone_writes():
    processes = two_processes(*SMALL, "--epochs", "3", "--output-folder", "two")
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    # Gloo prints in every process, sometimes several lines at once.
    assert "saner" in outputs[0][0]
    assert "epoch 3 of 3" in outputs[0][1]
    assert not re.search("saner|epoch|Kept", "".join(outputs[1]))
    assert main(["train", *SMALL, "--epochs", "3", "--output-folder", "one"]) == 0
    assert_same_training("one", "two")


READS = """
import json, sys, jax, numpy as np
jax.distributed.initialize("127.0.0.1:{port}", 2, int(sys.argv[1]))
from saner_jax.data import StreamedImages
from saner_jax.training import Budget, Examples, Splits, Task, batch_order, make_batches
from saner_jax.training import make_device_mesh
read = []
image = lambda row: read.append(row) or np.full((1, 1, 3), row, np.uint8)
inputs = StreamedImages(image, (1, 1, 3), np.zeros((50, 2, 3), np.int64))
labels = np.arange(50, dtype=np.int32)
mesh, train = make_device_mesh(2), Examples(inputs, labels, labels)
task = Task(Splits(train, train, train), None, None, None, mesh, Budget(1, 12))
order = batch_order(50, 12, seed=0, epoch=0)
for batch, rows in zip(make_batches(task)(order), order):
    for array in (batch.inputs[0, :, 0, 0, 0], batch.labels[0]):
        assert array.shape == (12,)
        for shard in array.addressable_shards:
            assert shard.data.tolist() == rows[shard.index].tolist()
print(json.dumps(sorted(read)))
"""


@pytest.mark.slow
def test_two_processes_read_disjoint_parts_of_streamed_images_whose_union_is_the_whole():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
    script = READS.format(port=port)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(index)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    read = [json.loads(output.splitlines()[-1]) for output, _ in outputs]
    assert [len(rows) for rows in read] == [24, 24]
    assert sorted(read[0] + read[1]) == sorted(batch_order(50, 12, seed=0, epoch=0).ravel())


@pytest.mark.slow
def test_two_processes_train_on_streamed_images_as_one():
    rng = np.random.default_rng(0)
    for name, shade in (("cat", 60), ("dog", 190)):
        Path("photos", name).mkdir(parents=True)
        for i in range(30):
            pixels = rng.uniform(shade - 50, shade + 50, (6, 6, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(Path("photos", name, f"{i:02}.png"))
    options = ["--dataset", "photos", "--epochs", "3", "--batch-size", "8"]
    options += ["--hidden-widths", "4", "--stream", "always"]
    options += ["--noise", "symmetric", "--rate", "0.2"]
    processes = two_processes(*options, "--output-folder", "two")
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert main(["train", *options, "--output-folder", "one"]) == 0
    assert_same_training("one", "two")


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both_at_one_step_and_one_process_goes_on():
    many = [*SMALL, "--epochs", "12", "--steps-per-dispatch", "1"]
    processes = two_processes(*many, "--output-folder", "two")
    log, deadline = Path("two/metrics.jsonl"), time.monotonic() + 300
    while not (log.exists() and log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGTERM)
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [128 + signal.SIGTERM] * 2, outputs
    assert main(["train", "--resume", "two", "--devices", "1"]) == 0
    assert main(["train", *many, "--output-folder", "one"]) == 0
    assert_same_training("one", "two")


@pytest.mark.slow
def test_a_dispatch_has_the_collectives_of_its_steps():
    forward = lambda w, s, x, train: (x.reshape(len(x), -1) @ w, s)
    images = np.zeros((64, 2, 2, 1), np.uint8)
    examples = Examples(images, np.zeros(64, np.int32), np.zeros(64, np.int32))
    floats = lambda x, step=None: x.astype(jnp.float32)
    counts = {}
    for is_per_device in (False, True):
        mesh = make_device_mesh(8, is_per_device=is_per_device)
        recipe = per_device(saner(0.1), mesh.axis_name) if is_per_device else saner(0.1)
        tx = optax.chain(recipe, optax.sgd(0.1))
        task = Task(
            Splits(examples, examples, examples),
            forward,
            InputFunctions(floats, floats),
            Optimizer(tx, lambda step: 0.1, 0.1, lambda step: 0.5),
            mesh,
            Budget(epochs=1, batch_size=32),
        )
        state = init_state(jnp.zeros((4, 10)), tx)
        arrays = mesh.replicate((state, init_totals(state), examples.inputs, examples.labels))
        rows = mesh.shard(np.arange(32, dtype=np.int32)[None], axis=1)
        batches = Minibatches(*arrays[2:], rows)
        text = make_dispatch(task).lower(*arrays[:2], batches).compile().as_text()
        counts[is_per_device] = {
            name: text.count(f" {name}(") for name in ("all-reduce", "all-gather", "all-to-all")
        }
    # The loss is reduced together with a gradient, or separately.
    assert counts[False] in ({"all-reduce": n, "all-gather": 0, "all-to-all": 0} for n in (2, 3))
    assert counts[True] in ({"all-reduce": n, "all-gather": 0, "all-to-all": 0} for n in (1, 2))
