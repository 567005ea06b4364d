import flax.linen as nn
import numpy as np
import optax

from saner_jax import saner
from saner_jax.training import train


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Conv(8, (3, 3))(x)))
        return nn.Dense(2)(nn.Dropout(0.2, deterministic=not train)(x.reshape(len(x), -1)))


images, labels = np.load("own.npz").values()
tx = optax.chain(saner(0.05), optax.adamw(1e-3))
trained = train(Net(), (images, labels), tx, epochs=8, folder="run")
np.save("predicted.npy", trained.predict(images))
