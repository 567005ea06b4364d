import jax
import numpy as np
import optax
from equinox import nn

from saner_jax import saner
from saner_jax.training import train

first, last = (lambda x: x.transpose(2, 0, 1)), (lambda x: jax.nn.relu(x).ravel())
layers = [nn.Lambda(first), nn.Conv2d(1, 8, 3, padding=1, key=jax.random.key(0))]
layers += [nn.BatchNorm(8, axis_name="batch", mode="batch"), nn.Lambda(last)]
layers += [nn.Dropout(0.2), nn.Linear(512, 2, key=jax.random.key(1))]
images, labels = np.load("own.npz").values()
tx = optax.chain(saner(0.05), optax.adamw(1e-3))
model = nn.make_with_state(nn.Sequential)(layers)
trained = train(model, (images, labels), tx, epochs=8, folder="run")
np.save("predicted.npy", trained.predict(images))
