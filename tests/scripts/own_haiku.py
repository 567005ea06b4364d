import haiku as hk
import jax
import numpy as np
import optax

from saner_jax import saner
from saner_jax.models import Pair
from saner_jax.training import train


@hk.transform_with_state
def net(x, train):
    x = hk.BatchNorm(True, True, 0.9)(hk.Conv2D(8, 3)(x), is_training=train)
    return hk.Linear(2)(hk.Flatten()(jax.nn.relu(x)))


images, labels = np.load("own.npz").values()
tx = optax.chain(saner(0.05), optax.adamw(1e-3))
apply = lambda params, state, x, train: net.apply(params, state, None, x, train)
pair = Pair(lambda key, x: net.init(key, x, True), apply)
trained = train(pair, (images, labels), tx, epochs=8, folder="run")
np.save("predicted.npy", trained.predict(images))
