"""The names of layers in the trees of Linen, NNX, Equinox, Haiku and Keras."""

import re

# "LayerNorm2d" is Layer, Norm, 2, d; "ln1" is ln, 1; "RMSNorm" is RMS, Norm.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SHORT = frozenset(("bn", "ln", "gn", "rms"))
_HEADS = frozenset(("head", "classifier", "logits", "predictions"))
_OF_WEIGHTS = frozenset(("weight", "spectral"))


def is_normalization_name(name: str) -> bool:
    """Return whether the words of a layer's name say that it normalizes activations.

    Args:
        name: of the layer alone, without the names above it.

    Returns:
        Whether they do.

    Example:
        >>> [is_normalization_name(name) for name in ("ln_f", "RMSNorm_0", "normal", "WeightNorm")]
        [True, True, False, False]
    """
    words = [word.lower() for word in _WORD.findall(name)]
    for before, word in zip(["", *words], words, strict=False):
        is_norm = word.endswith(("norm", "normalization", "normalisation"))
        if word in _SHORT or (is_norm and before not in _OF_WEIGHTS):
            return True
    return False


def is_head_name(name: str) -> bool:
    """Return whether the words of a layer's name say that it gives the logits.

    Args:
        name: of the layer alone, without the names above it.

    Returns:
        Whether they do.

    Example:
        >>> [is_head_name(name) for name in ("lm_head", "Classifier", "num_heads", "Dense_0")]
        [True, True, False, False]
    """
    return not _HEADS.isdisjoint(word.lower() for word in _WORD.findall(name))


def split_number(name: str) -> tuple[str, int]:
    """Return the stem of a name and the number at its end.

    Args:
        name: of a layer.

    Returns:
        The name without number and underscore, and the number; -1 without a number.

    Example:
        >>> split_number("Dense_12"), split_number("linear")
        (('Dense', 12), ('linear', -1))
    """
    match = re.fullmatch(r"(.*?)_?(\d*)", name)
    stem, number = match.groups() if match else (name, "")
    return stem, int(number) if number else -1
