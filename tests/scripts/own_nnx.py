import numpy as np
import optax
from flax import nnx

from saner_jax import saner
from saner_jax.training import train


class Net(nnx.Module):
    def __init__(self, rngs):
        self.conv, self.norm = nnx.Conv(1, 8, (3, 3), rngs=rngs), nnx.BatchNorm(8, rngs=rngs)
        self.drop, self.out = nnx.Dropout(0.2, rngs=rngs), nnx.Linear(512, 2, rngs=rngs)

    def __call__(self, x):
        return self.out(self.drop(nnx.relu(self.norm(self.conv(x))).reshape(len(x), -1)))


images, labels = np.load("own.npz").values()
tx = optax.chain(saner(0.05), optax.adamw(1e-3))
trained = train(Net(nnx.Rngs(0)), (images, labels), tx, epochs=8, folder="run")
np.save("predicted.npy", trained.predict(images))
