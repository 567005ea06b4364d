"""The choices of options, which the help, a type checker and the checks read.

A test compares them with the catalogues of noise, models, masks and recipes.
"""

from typing import Literal

Noise = Literal[
    "none",
    "symmetric",
    "symmetric_inclusive",
    "pair",
    "asymmetric_cifar10",
    "asymmetric_cifar10_of_all",
    "asymmetric_cifar100_superclass",
    "asymmetric_cifar100_block5",
    "asymmetric_cifar100_next",
    "instance",
    "human:aggre",
    "human:random1",
    "human:random2",
    "human:random3",
    "human:worse",
    "human:fine",
    "human:coarse",
    "file",
]
"""Names of models of label noise; "file" reads a file of labels."""
Model = Literal[
    "mlp",
    "resnet8",
    "resnet18",
    "resnet34",
    "resnet50",
    "wrn28_10",
    "wrn40_2",
    "vit_tiny",
    "vit_small",
    "efficientnet_lite0",
]
"""Names of models."""
Method = Literal[
    "sgd",
    "sam",
    "asam",
    "gsam",
    "friendly_sam",
    "vasso",
    "wsam",
    "stable_sam",
    "zsharp",
    "sparse_sam",
    "saner",
    "asaner",
    "gsaner",
    "friendly_saner",
    "vasso_saner",
    "sam_only",
    "sam_without",
    "look_sam",
    "ae_sam",
    "ncsam",
]
"""Names of methods: the recipes, and "sgd" for the base alone."""
Norm = Literal["batch", "layer", "group", "none"]
ObjectiveName = Literal[
    "plain",
    "gce",
    "sce",
    "nce_rce",
    "label_smoothing",
    "bootstrapping",
    "dynamic_bootstrapping",
    "forward_correction",
    "elr",
    "selc",
    "plc",
    "joint_optimization",
    "clean_weights",
    "small_loss_selection",
    "co_teaching",
    "jocor",
    "dividemix",
]
Loss = Literal["cross_entropy", "mean_absolute_error", "generalized_cross_entropy"]
ClassWeights = Literal["none", "balanced"]
Base = Literal["sgd", "adamw"]
Schedule = Literal["cosine", "multistep", "constant"]
Pixels = Literal["centered", "standardized", "pretrained"]
"""Ways in which pixels become inputs of a model."""
Precision = Literal["float32", "bfloat16"]
RhoSchedule = Literal["constant", "tied_to_learning_rate"]
PerturbMask = Literal["all", "normalization_only", "all_but_normalization", "last_layer"]
"""Names of masks of what is perturbed."""
FigureFormat = Literal["png", "pdf", "svg"]
"""Formats of pictures."""
StatisticsFrom = Literal["origin", "perturbed"]
OtherTool = Literal["label_studio", "coco"]
"""Tools for which `saner-jax suspects` writes a file."""
ApplyAs = Literal["copy", "link"]
"""How the files of a corrected tree are made."""
