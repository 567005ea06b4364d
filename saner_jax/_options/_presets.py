"""The papers' set-ups by name, as options of `saner-jax train`.

Each has the options of the main experiment, by the paper and its authors' code, on the dataset that
the name ends in; an option beside a preset overrides it. An option that a paper leaves open has the
value noted there. All train on every example (no validation split), as the papers did.
"""

from saner_jax._options._config import TrainConfig
from saner_jax._options._flat import with_options

# Random crops of images padded by 4 and random mirrors: what all the papers here use.
_CIFAR = TrainConfig.of(
    dataset="cifar10",
    model="resnet18",
    pixels="standardized",
    crop_padding=4,
    flip=True,
    epochs=200,
    batch_size=128,
    learning_rate=0.1,
    momentum=0.9,
    weight_decay=5e-4,
    checkpoint_every_epochs=5,
)

# lhchau/saner @07fd303: sam.yaml, sgd.yaml; alpha to 0.5 over 50 of 200 epochs, rho 0.1, tenths of
# the learning rate at half and three quarters.
_SANER = with_options(
    _CIFAR,
    method="saner",
    schedule="multistep",
    noise="symmetric",
    rate=0.25,
    rho=0.1,
    alpha=0.5,
    alpha_warmup_fraction=0.25,
)

PRESETS: dict[str, TrainConfig] = {
    "saner-cifar10": _SANER,
    "saner-cifar100": with_options(_SANER, dataset="cifar100"),
    # Baek et al., ICLR 2024, arXiv 2405.03676: ResNet-18 with layer normalization, 30 % noise,
    # learning rate 0.01 and rho 0.01; the schedule is not told, here none. Their 1-SAM perturbs
    # per example; this is the batch's SAM, to compare with.
    "baek-cifar10": with_options(
        _CIFAR,
        method="sam",
        norm="layer",
        noise="symmetric",
        rate=0.3,
        rho=0.01,
        learning_rate=0.01,
        schedule="constant",
    ),
    # Mueller et al., NeurIPS 2023, arXiv 2306.04226: WRN-28-10 on CIFAR-100 without noise; their
    # label smoothing of 0.1 is not offered. rho is that of the normalization layers alone.
    "sam-on-cifar100": with_options(
        _CIFAR,
        dataset="cifar100",
        method="sam",
        model="wrn28_10",
        noise="none",
        rho=1.0,
        perturb_mask="normalization_only",
    ),
    # UCSC-REAL/cifar-10-100n: ResNet-34, 100 epochs, learning rate 0.1 and 0.01 from epoch 60 on;
    # here a cosine. Cross-entropy is `--method sgd`.
    "cifar10n-worse": with_options(
        _CIFAR, method="saner", model="resnet34", noise="human:worse", epochs=100
    ),
    "cifar100n-fine": with_options(
        _CIFAR,
        dataset="cifar100",
        method="saner",
        model="resnet34",
        noise="human:fine",
        epochs=100,
    ),
    # Small enough for two CPU cores: 5,000 images, a net of eight layers, no augmentation. The
    # radius is the best of the sweep in benchmarks/saner_forgets_noise_on_cifar.py.
    "cifar10n-worse-cpu": TrainConfig.of(
        dataset="cifar10",
        noise="human:worse",
        model="resnet8",
        pixels="standardized",
        num_train=5000,
        validation_fraction=0.1,
        epochs=30,
        batch_size=128,
        learning_rate=0.1,
        rho=0.3,
    ),
}
"""The options of the set-ups of papers, by name."""
