# %% [markdown]
# [![Open in Colab][badge]][notebook]
#
# [badge]: https://colab.research.google.com/assets/colab-badge.svg
# [notebook]: https://colab.research.google.com/github/saner-jax/saner_jax/blob/main/colabs/04_compose_your_own.ipynb
#
# # Compose your own
#
# A method is a product of three choices: where to look (an ascent), what to keep (a combine), and
# what to do with it (any Optax optimizer). Each is an ordinary Optax transformation, so a new idea
# is one small function, and it meets everything that is there already. Here: a new ascent, other
# optimizers, a mask, and a model of NNX beside one of Linen.

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
EPOCHS = 10 if SMOKE else 30
WIDTH = 256

# %%
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import saner_jax
from saner_jax import data, models, objectives, training
from saner_jax.data import noise

# %% [markdown]
# ## A new ascent
#
# The SAM paper solves for the worst perturbation in any lp ball (arXiv 2010.01412, eq. 2), and
# then uses p = 2. With 1/p + 1/q = 1 its direction is sign(g) |g|^(q - 1): the power is 1 for
# p = 2, which is SAM, 0 for p = infinity, and 2 for p = 3/2, where the largest coordinates weigh
# more. As a transformation:


# %%
def raise_to(power):
    """Take each coordinate of the gradient to a power, keeping its sign."""
    return optax.stateless(
        lambda updates, _: jax.tree.map(lambda g: jnp.sign(g) * jnp.abs(g) ** power, updates)
    )


# %% [markdown]
# It says where to look, not how far: that is for the part behind it, `scale_to_radius`. Two cases
# are known, and hold: power 1 is SAM, and power 0 moves every coordinate by the same length.

# %%
toy = {"w": jnp.array([0.1, -2.0, 3.0])}
toy_grad = jax.grad(lambda p: jnp.sum(p["w"] ** 4))


def step_on_toy(tx):
    """The gradient that a transformation keeps on the toy problem."""
    return tx.update(toy_grad(toy), tx.init(toy), toy, grad_fn=toy_grad)[0]["w"]


def look(power, rho):
    """The ascent: the new direction, at the length of SAM's."""
    return optax.chain(raise_to(power), saner_jax.scale_to_radius(rho))


as_sam = step_on_toy(saner_jax.sharpness_aware(look(1, 0.5)))
as_linf = step_on_toy(saner_jax.sharpness_aware(look(0, 0.3 * 3**0.5)))
np.testing.assert_allclose(as_sam, step_on_toy(saner_jax.sam(0.5)), rtol=1e-6)
linf = saner_jax.sharpness_aware(saner_jax.scale_to_linf_radius(0.3))
np.testing.assert_allclose(as_linf, step_on_toy(linf), rtol=1e-6)

# %% [markdown]
# ## A model in Linen, and its twin in NNX
#
# The digits with 40 % wrong labels, and a net with one hidden layer and layer normalization. The
# library wants a function of parameters: Linen's `apply` is one, and of an NNX module `nnx.split`
# and `nnx.merge` make one. Everything after this line is the same for both.

# %%
digits = data.load("digits")
noisy = noise.symmetric(digits.train_labels, 0.4, num_classes=10, seed=0)
mean = digits.train_images.mean() / 255
flat = lambda images: jnp.asarray(images / 255 - mean, jnp.float32).reshape(len(images), 64)
images, test_images = flat(digits.train_images), flat(digits.test_images)
labels = jnp.asarray(noisy.labels)


class Linen(nn.Module):
    """One hidden layer, normalized."""

    @nn.compact
    def __call__(self, inputs, train=False):
        """Map images to logits."""
        del train  # there is neither dropout nor a running statistic
        return nn.Dense(10)(nn.relu(nn.LayerNorm()(nn.Dense(WIDTH)(inputs))))


class Twin(nnx.Module):
    """The same, as an NNX module."""

    def __init__(self, rngs):
        self.hidden = nnx.Linear(64, WIDTH, rngs=rngs)
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, 10, rngs=rngs)

    def __call__(self, inputs):
        """Map images to logits."""
        return self.head(nnx.relu(self.norm(self.hidden(inputs))))


params = Linen().init(jax.random.key(0), images[:1])["params"]
forward = models.forward_of(Linen())

graph, twin_params, twin_rest = nnx.split(Twin(nnx.Rngs(0)), nnx.Param, ...)
twin_params, twin_rest = nnx.as_pure(twin_params), nnx.as_pure(twin_rest)


def twin_forward(params, rest, inputs, *, train):
    """The logits of the twin, and what it keeps beside its parameters."""
    del train
    model = nnx.merge(graph, params, rest)
    return model(inputs), nnx.as_pure(nnx.state(model, nnx.Not(nnx.Param)))


# %%
def train(tx, forward=forward, params=params, rest=None):
    """Train with any transformation, and return test accuracy and share of noise memorized."""
    step = training.make_train_step(forward, objectives.cross_entropy, tx)
    epoch = jax.jit(lambda state, order: training.run_steps(step, state, images, labels, order)[0])
    state = training.init_state(params, tx, rest)
    for number in range(EPOCHS):
        state = epoch(state, training.batch_order(len(images), 64, seed=0, epoch=number))

    def score(inputs, labels, true_labels):
        logits = forward(state.params, state.statistics, inputs, train=False)[0]
        counts = training.evaluate(logits, labels, true_labels, objectives.cross_entropy)
        return training.shares(counts)

    test = score(test_images, digits.test_labels, digits.test_labels)
    seen = score(images, labels, noisy.true_labels)
    return float(test.accuracy), float(seen.memorized)


results = {}


def compare(**methods):
    """Train each method, and print what came out."""
    for name, arguments in methods.items():
        results[name] = accuracy, memorized = train(*arguments)
        print(f"{name:>16}: test accuracy {accuracy:.1%}, memorized {memorized:.1%}")


# %% [markdown]
# ## The new ascent, with SAM's combine and with SANER's
#
# SANER is the ascent times `damp_shrunk`, so the new ascent has its SANER at once.

# %%
sgd = optax.sgd(0.05, momentum=0.9)
of_power = lambda power, *combine: optax.chain(
    saner_jax.sharpness_aware(look(power, 0.1), *combine), sgd
)
compare(
    sgd=(sgd,),
    sam=(of_power(1),),
    saner=(of_power(1, saner_jax.damp_shrunk(0.5)),),
    power_2=(of_power(2),),
    power_2_saner=(of_power(2, saner_jax.damp_shrunk(0.5)),),
)

# %% [markdown]
# On a CPU, power 2 memorized 35 % of the wrong labels and SAM 33 %: as an ascent it is no better.
# With SANER's combine they come to 23 % and 17 %, and to 85 % and 89 % of test accuracy, where SGD
# has 76 %. All figures here are of one run, and nothing was tuned to the power.
#
# ## Other bases: AdamW and Muon
#
# The recipe stands first, where both gradients are raw, and the base follows: whatever AdamW or
# Muon make of a gradient, they make of the one that SANER kept.

# %%
adamw = optax.adamw(2e-3)
muon = optax.contrib.muon(2e-3)
compare(
    adamw=(adamw,),
    saner_adamw=(optax.chain(saner_jax.saner(0.1), adamw),),
    muon=(muon,),
    saner_muon=(optax.chain(saner_jax.saner(0.1), muon),),
)

# %% [markdown]
# SANER takes AdamW from 78 % to 91 % and Muon from 85 % to 89 %, and the wrong labels memorized
# from 43 % to 10 % and from 29 % to 14 %.
#
# ## SAM-ON: perturb the normalization layers alone
#
# A mask says which parameters are perturbed; all of them are trained. The radius is larger, since
# it runs over few coordinates.

# %%
mask = saner_jax.normalization_only
perturbed = sum(jax.tree.leaves(jax.tree.map(lambda m, p: m * p.size, mask(params), params)))
print(f"{perturbed} of {sum(p.size for p in jax.tree.leaves(params))} parameters are perturbed")
compare(sam_on=(optax.chain(saner_jax.sam(0.5, perturb_mask=mask), sgd),))

# %% [markdown]
# It ends at 80 %, near SAM's 81 %, with 3 % of the parameters perturbed.
#
# ## The NNX twin
#
# The same transformation, the other library. Only the initial draw differs.

# %%
compare(saner_nnx=(optax.chain(saner_jax.saner(0.1), sgd), twin_forward, twin_params, twin_rest))

# %% [markdown]
# It comes to 89 %, like its twin. A recipe of your own that proves itself is five steps away from
# the library: see [CONTRIBUTING](../CONTRIBUTING.md).
