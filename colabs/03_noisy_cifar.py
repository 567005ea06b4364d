# %% [markdown]
# [![Open in Colab][badge]][notebook]
#
# [badge]: https://colab.research.google.com/assets/colab-badge.svg
# [notebook]: https://colab.research.google.com/github/saner-jax/saner_jax/blob/main/colabs/03_noisy_cifar.ipynb
#
# # Noisy CIFAR-10, on whatever there is
#
# Train on CIFAR-10 with wrong labels, on TPU, GPU or CPU, on all devices there are, so that it can
# be interrupted: run the notebook again, and it goes on from the newest checkpoint.

# %%
# Install the library where it is missing, as in Colab; elsewhere this cell does nothing.
import importlib.util
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("saner_jax") is None:
    # JAX and the plugin of an accelerator must be of one version, so they are upgraded together.
    plugins = {"libtpu": "tpu", "jax_cuda12_plugin": "cuda12", "jax_cuda13_plugin": "cuda13"}
    needed = [f"jax[{kind}]" for name, kind in plugins.items() if importlib.util.find_spec(name)]
    # A wheel beside this notebook, or else the repository.
    wheels = sorted(Path().glob("saner_jax-*.whl"))
    repository = "git+https://github.com/saner-jax/saner_jax"
    needed.append(f"saner-jax[train] @ {wheels[-1].resolve().as_uri() if wheels else repository}")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-U", *needed], check=True)

# %%
# Settings. The tests run each notebook in seconds, with SANER_JAX_SMOKE=1 in the environment.
import os

SMOKE = os.environ.get("SANER_JAX_SMOKE") == "1"
# symmetric, or what people really got wrong (CIFAR-N): human:worse, human:aggre, human:random1, ...
NOISE = "symmetric"
RATE = 0.4  # of symmetric noise; human noise has its own
METHOD = "saner"  # sgd, sam, or any other recipe
EPOCHS = None  # those of the preset chosen below
KEEP_ON_DRIVE = False  # in Colab: True keeps the run on your Google Drive

# %%
import jax
import matplotlib.pyplot as plt

from saner_jax import cli
from saner_jax.experiments import (
    PRESETS,
    DeviceOptions,
    TrainConfig,
    evaluate_run,
    prepare_training,
    reopen_training,
    run_training,
    with_options,
)
from saner_jax.reports import describe_job, draw_curves, progress, show_table, write_picture

# %% [markdown]
# Where things lie. A Colab machine forgets its disk when it disconnects; Google Drive does not.
# CIFAR-10 is downloaded once for each machine. The files of
# [CIFAR-N](https://github.com/UCSC-REAL/cifar-10-100n) are for non-commercial use and not
# downloaded here: put `CIFAR-10_human.pt` and `image_order_c10.npy` into `NOISE_DIR` yourself.

# %%
HOME = Path()
if KEEP_ON_DRIVE:
    from google.colab import drive

    drive.mount("/content/drive")
    HOME = Path("/content/drive/MyDrive/saner_jax")
DATA_DIR, NOISE_DIR = Path("data"), HOME / "cifar_n"
FOLDER = HOME / "runs" / f"noisy_cifar-{METHOD}-{NOISE.replace(':', '-')}"

# %% [markdown]
# What is affordable depends on the device. Accelerators get the set-up of SANER's paper, a
# ResNet-18, 200 epochs and all images but a tenth, which is held out. CPUs get a net of eight
# layers, 30 epochs and 5,000 images, of which a tenth is held out too. Batches are spread over all
# devices if their number divides 128, or else as many of them as do; the perturbation is that of
# the whole batch, so their number does not change the method.

# %%
backend, found = jax.default_backend(), jax.local_device_count()
num_devices = max(n for n in range(1, found + 1) if 128 % n == 0)
print(f"{backend}: {num_devices} of {found} devices ({jax.devices()[0]})")

if SMOKE:
    small = {"hidden_widths": (32,), "epochs": 3, "batch_size": 128}
    preset = TrainConfig.of(**small, pixels="standardized", validation_fraction=0.1)  # on digits
elif backend == "cpu":
    preset = PRESETS["cifar10n-worse-cpu"]
else:
    preset = with_options(PRESETS["saner-cifar10"], validation_fraction=0.1)
    if backend == "tpu":
        preset = with_options(preset, precision="bfloat16")
config = with_options(
    preset,
    method=METHOD,
    noise=NOISE,
    rate=RATE,
    epochs=EPOCHS or preset.budget.epochs,
    checkpoint_every_epochs=1,
    data_dir=DATA_DIR,
    noise_dir=NOISE_DIR,
    output_folder=FOLDER,
    devices=num_devices,
)
config

# %%
is_prepared = any(DATA_DIR.glob("cifar10/*/dataset_info.json"))
if config.data.dataset == "cifar10" and not is_prepared:
    assert cli.main(["data", "prepare", "--dataset", "cifar10", "--data-dir", str(DATA_DIR)]) == 0

# %% [markdown]
# The run. Its folder holds all that is needed to go on: the options, the measurements of every
# epoch, and the two newest checkpoints. Where it exists, its own options are used, and only the
# devices are those of today. After a disconnect, or the stop button, run all cells again.

# %%
if (FOLDER / "config.json").exists():
    job = reopen_training(FOLDER, DeviceOptions(devices=num_devices))
else:
    job = prepare_training(config)
with progress(job.config.budget.epochs) as reporter:
    for line in describe_job(job):
        reporter.say(line)
    results = run_training(job, reporter=reporter)
write_picture(FOLDER / "curves.png", lambda file_format: draw_curves(results, file_format))
show_table(results, job.folder)

# %%
plt.figure(figsize=(12, 4))
plt.imshow(plt.imread(FOLDER / "curves.png"))
plt.axis("off")
plt.show()

# %% [markdown]
# What was learned, on three sets: `accuracy` is on the true labels, `fit` on those given;
# `memorized` and `corrected` are the shares of the wrong labels that were learned, and seen
# through. The best checkpoint is chosen by held-out labels, which are as noisy as the others: so
# you could choose it on data of your own.

# %%
evaluations = {which: evaluate_run(FOLDER, which) for which in ("last", "best")}
for which, evaluation in evaluations.items():
    for name, measured in evaluation.shares.items():
        print(which, name, {share: round(float(v), 3) for share, v in measured._asdict().items()})
