"""Models have the published architecture, and compute in the documented precision."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from saner_jax.models import (
    MLP,
    MODELS,
    NORMS,
    BasicBlock,
    Bottleneck,
    PreActivationBlock,
    ResNet,
    ViT,
    WideResNet,
    build,
    convolve,
    is_dense,
    normalize,
)
from saner_jax.models._vit import attend
from saner_jax.step import is_normalization

# Other tests train with models, so `make check` skips these details; `make test` runs them.
pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
RESIDUAL = [name for name in MODELS if name.startswith(("resnet", "wrn"))]
TINY = {
    "resnet": ResNet(num_classes=3, stage_sizes=(1, 1), stage_widths=(4, 6), stage_strides=(1, 2)),
    "bottleneck": ResNet(
        num_classes=3,
        stage_sizes=(2,),
        stage_widths=(4,),
        stage_strides=(2,),
        block=Bottleneck,
    ),
    "wide": WideResNet(num_classes=3, depth=10, widen=1, width=0.25),
    "vit": ViT(num_classes=3, channels=8, num_heads=2, depth=1),
    "mlp": MLP(num_classes=3, hidden_widths=(4,)),
}


def images_of(n=6, h=8, w=8, c=3, seed=1):
    """Return random images."""
    return jax.random.normal(jax.random.key(seed), (n, h, w, c))


def shapes_of(model, size=32):
    """Return the shapes and dtypes of a model's variables."""
    images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    return jax.eval_shape(model.init, KEY, images)


def count(tree):
    """Return the number of coordinates of a tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def drawn(model, images=None, seed=0):
    """Return random variables of a model, with positive variances."""
    images = images_of() if images is None else images
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, KEY, images)
    draw = lambda leaf: jnp.asarray(rng.uniform(0.2, 1.0, leaf.shape), leaf.dtype)
    return jax.tree.map(draw, shapes)


def equations_of(jaxpr):
    """Return all equations of a jaxpr, including those of the functions it calls."""
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(
            equation.params, is_leaf=lambda node: hasattr(node, "jaxpr") or hasattr(node, "eqns")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations_of(inner)


def equations_in_training(model, size=8):
    """Return the equations of a model's training pass."""
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    variables = jax.eval_shape(model.init, KEY, images)
    apply = lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"])
    return list(equations_of(jax.make_jaxpr(apply)(variables, images).jaxpr))


COUNTS = [
    ("resnet18", 0.25, {10: 701_466, 100: 713_076}),
    ("resnet18", 0.5, {10: 2_797_610, 100: 2_820_740}),
    ("resnet18", 1, {10: 11_173_962, 100: 11_220_132, 200: 11_271_432}),
    ("resnet18", 1.25, {10: 17_454_170, 100: 17_511_860}),
    ("resnet18", 1.5, {10: 25_129_066, 100: 25_198_276}),
    ("resnet18", 2, {10: 44_662_922, 100: 44_755_172}),
    ("resnet34", 1, {10: 21_282_122, 100: 21_328_292}),
    ("resnet50", 1, {10: 23_520_842, 100: 23_705_252}),
    ("wrn28_10", 1, {10: 36_479_194, 100: 36_536_884}),
    ("wrn40_2", 1, {10: 2_243_546, 100: 2_255_156}),
]


@pytest.mark.parametrize(("name", "width", "expected"), COUNTS)
def test_parameters_are_as_many_as_in_the_reference(name, width, expected):
    params = shapes_of(build(name, 10, width=width))["params"]
    features, num_classes = params["Dense_0"]["kernel"].shape
    assert num_classes == 10
    body = count(params) - count(params["Dense_0"])
    assert {c: body + (features + 1) * c for c in expected} == expected


@pytest.mark.parametrize(("name", "d"), [("vit_tiny", 192), ("vit_small", 384)])
def test_a_vision_transformer_has_twelve_blocks_with_biases(name, d):
    block = (4 * d * d + 4 * d) + (8 * d * d + 5 * d) + 4 * d
    expected = (48 * d + d) + 64 * d + 12 * block + 2 * d + (10 * d + 10)
    assert count(shapes_of(build(name, 10))["params"]) == expected


@pytest.mark.parametrize("name", MODELS)
def test_variables_and_logits_are_float32_and_nothing_loops(name):
    model = build(name, 7, dtype=jnp.bfloat16)
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    run = lambda key, x: model.init_with_output(key, x, train=True)
    jaxpr, (logits, variables) = jax.make_jaxpr(run, return_shape=True)(KEY, images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert ("batch_stats" in variables) == (name in RESIDUAL)
    assert (logits.shape, logits.dtype) == ((2, 7), jnp.float32)
    used = {equation.primitive.name for equation in equations_of(jaxpr.jaxpr)}
    assert not used & {"scan", "while", "cond"}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["resnet", "bottleneck", "wide"])
def test_convolutions_are_in_the_asked_precision_and_reductions_in_float32(name, norm):
    model = TINY[name].clone(norm=norm, dtype=jnp.bfloat16)
    equations = equations_in_training(model)
    dtypes = lambda names: {
        variable.aval.dtype
        for equation in equations
        if equation.primitive.name in names
        for variable in (*equation.invars, *equation.outvars)
    }
    assert dtypes({"conv_general_dilated"}) == {jnp.dtype("bfloat16")}
    assert dtypes({"reduce_sum", "dot_general"}) == {jnp.dtype("float32")}
    statistics = {"rsqrt"} if norm != "none" else set()
    assert {e.primitive.name for e in equations} & {"rsqrt"} == statistics
    assert dtypes({"rsqrt"}) <= {jnp.dtype("float32")}


@pytest.mark.parametrize("name", ["vit", "mlp"])
def test_products_are_in_the_asked_precision_but_for_the_read_out(name):
    equations = equations_in_training(TINY[name].clone(dtype=jnp.bfloat16))
    products = [e.invars[0].aval.dtype for e in equations if e.primitive.name == "dot_general"]
    assert set(products[:-1]) == {jnp.dtype("bfloat16")}
    assert products[-1] == jnp.float32
    softmax = {e.invars[0].aval.dtype for e in equations if e.primitive.name == "exp"}
    assert softmax <= {jnp.dtype("float32")}


class Oracle:
    """Evaluation passes of residual blocks in NumPy, layer by layer."""

    def __init__(self, variables):
        self.variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
        self.taken = {"Conv": 0, "BatchNorm": 0}

    def take(self, kind):
        name = f"{kind}_{self.taken[kind]}"
        self.taken[kind] += 1
        return {k: tree[name] for k, tree in self.variables.items() if name in tree}

    def conv(self, x, stride=1):
        kernel = self.take("Conv")["params"]["kernel"]
        side = kernel.shape[0]
        x = np.pad(x, ((0, 0), (side // 2, side // 2), (side // 2, side // 2), (0, 0)))
        rows, columns = ((size - side) // stride + 1 for size in x.shape[1:3])
        out = np.empty((len(x), rows, columns, kernel.shape[-1]))
        for i in range(rows):
            for j in range(columns):
                patch = x[:, i * stride : i * stride + side, j * stride : j * stride + side]
                out[:, i, j] = np.tensordot(patch, kernel, 3)
        return out

    def bn(self, x):
        layer = self.take("BatchNorm")
        mean, var = layer["batch_stats"]["mean"], layer["batch_stats"]["var"]
        scale, bias = layer["params"]["scale"], layer["params"]["bias"]
        return (x - mean) / np.sqrt(var + 1e-5) * scale + bias


def relu(x):
    return np.maximum(x, 0)


def basic(o, x):
    shortcut = o.bn(o.conv(x, 2))
    hidden = relu(o.bn(o.conv(x, 2)))
    return relu(o.bn(o.conv(hidden)) + shortcut)


def basic_with_identity(o, x):
    hidden = relu(o.bn(o.conv(x)))
    return relu(o.bn(o.conv(hidden)) + x)


def bottleneck(o, x):
    shortcut = o.bn(o.conv(x, 2))
    hidden = relu(o.bn(o.conv(x)))
    hidden = relu(o.bn(o.conv(hidden, 2)))
    return relu(o.bn(o.conv(hidden)) + shortcut)


def pre_activation(o, x):
    active = relu(o.bn(x))
    shortcut = o.conv(active, 2)
    hidden = o.conv(active, 2)
    return o.conv(relu(o.bn(hidden))) + shortcut


def pre_activation_with_identity(o, x):
    hidden = o.conv(relu(o.bn(x)))
    return o.conv(relu(o.bn(hidden))) + x


@pytest.mark.parametrize(
    ("block", "channels", "stride", "oracle"),
    [
        (BasicBlock, 4, 2, basic),
        (BasicBlock, 3, 1, basic_with_identity),
        (Bottleneck, 2, 2, bottleneck),
        (PreActivationBlock, 4, 2, pre_activation),
        (PreActivationBlock, 3, 1, pre_activation_with_identity),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_block_is_the_papers(block, channels, stride, oracle):
    module = block(channels, stride, "batch", jnp.float32)
    # One even and one odd side: strides end differently on them.
    images = images_of(2, 6, 5)
    init = lambda key, x: module.init(key, x, False)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(rng.uniform(0.2, 1.0, leaf.shape), leaf.dtype),
        jax.eval_shape(init, KEY, images),
    )
    reference = Oracle(variables)
    expected = oracle(reference, np.asarray(images, np.float64))
    out = jax.jit(lambda v, x: module.apply(v, x, False))(variables, images)
    np.testing.assert_allclose(out, expected, rtol=1e-4)
    taken = reference.taken["Conv"] + reference.taken["BatchNorm"]
    assert taken == len(variables["params"])


def test_initial_values_are_pytorchs():
    def first(model, block):
        params = model.init(KEY, images_of(1))["params"]
        scale = next(v for k, v in sorted(params.items()) if k.startswith("BatchNorm"))["scale"]
        return params[block]["Conv_1"]["kernel"], params["Dense_0"], scale

    # Compiled, so that only the requested arrays are drawn.
    kernel, head, scale = jax.jit(lambda: first(build("resnet8", 10), "BasicBlock_2"))()
    assert kernel.shape == (3, 3, 64, 128)
    assert float(kernel.std()) == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    for leaf in head.values():
        assert 0.8 * 128**-0.5 < float(jnp.abs(leaf).max()) <= 128**-0.5
    assert (scale == 1).all()

    wide = WideResNet(num_classes=10, depth=10, widen=2)
    kernel, head, scale = jax.jit(lambda: first(wide, "PreActivationBlock_2"))()
    assert kernel.shape == (3, 3, 64, 128)
    assert float(kernel.std()) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)
    assert 0.8 * 128**-0.5 < float(jnp.abs(head["kernel"]).max()) <= 128**-0.5
    assert not head["bias"].any()
    assert (scale == 1).all()


class FirstLayer(nn.Module):
    """A convolution with its normalization."""

    norm: str = "batch"
    channels: int = 4

    @nn.compact
    def __call__(self, images, train=False):
        init = nn.initializers.normal()
        hidden = convolve(images, self.channels, 3, init=init, use_bias=False, dtype=jnp.float32)
        self.sow("intermediates", "hidden", hidden)
        return normalize(hidden, self.norm, train=train, dtype=jnp.float32)


def test_running_statistics_move_a_tenth_towards_the_batch_in_training_alone():
    model, images = FirstLayer(), images_of()
    variables = drawn(model)
    collections = ["batch_stats", "intermediates"]
    apply = jax.jit(partial(model.apply, mutable=collections), static_argnames="train")
    out, new = apply(variables, images, train=True)
    hidden = np.asarray(new["intermediates"]["hidden"][0])
    mean, var = hidden.mean((0, 1, 2)), hidden.var((0, 1, 2))
    old, new = (tree["batch_stats"]["BatchNorm_0"] for tree in (variables, new))
    for name, value in {"mean": mean, "var": var}.items():
        moved = 0.9 * np.asarray(old[name]) + 0.1 * value
        np.testing.assert_allclose(new[name], moved, rtol=1e-5)
    layer = variables["params"]["BatchNorm_0"]
    scale, bias = np.asarray(layer["scale"]), np.asarray(layer["bias"])
    expected = (hidden - mean) / np.sqrt(var + 1e-5) * scale + bias
    np.testing.assert_allclose(out, expected, atol=1e-4)
    _, same = apply(variables, images, train=False)
    jax.tree.map(np.testing.assert_array_equal, same["batch_stats"], variables["batch_stats"])


def test_gradients_in_training_do_not_see_the_running_statistics():
    model, images = TINY["resnet"], images_of()
    variables = drawn(model)

    @jax.jit
    def grads(statistics):
        def loss(params):
            logits, _ = model.apply(
                {"params": params, "batch_stats": statistics},
                images,
                train=True,
                mutable=["batch_stats"],
            )
            return jnp.sum(logits**2)

        return jax.grad(loss)(variables["params"])

    one = grads(variables["batch_stats"])
    other = grads(jax.tree.map(lambda leaf: 3 * leaf + 1, variables["batch_stats"]))
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("norm", NORMS)
def test_only_batch_normalization_in_training_mixes_examples(norm):
    model, images = FirstLayer(norm=norm), images_of()
    variables = drawn(model)
    apply = jax.jit(partial(model.apply, mutable=["batch_stats"]), static_argnames="train")
    others = jnp.concatenate([images[:2], images[:4]])
    for train in (False, True):
        alone, together = (apply(variables, x, train=train)[0][:2] for x in (images, others))
        assert np.allclose(alone, together, atol=1e-5) == (not train or norm != "batch")


@pytest.mark.parametrize(("norm", "num_groups"), [("layer", 1), ("group", 2)])
def test_layer_and_group_normalize_each_example(norm, num_groups):
    model, images = FirstLayer(norm=norm, channels=16), images_of()
    out, _ = jax.jit(model.init_with_output)(KEY, images)
    out = np.asarray(out).reshape(6, 8, 8, num_groups, -1)
    np.testing.assert_allclose(out.mean((1, 2, 4)), 0, atol=1e-5)
    # The variance is below 1 by epsilon divided by the previous variance.
    np.testing.assert_allclose(out.var((1, 2, 4)), 1, atol=0.05)


@pytest.mark.parametrize(("channels", "groups"), [(512, 32), (128, 16), (320, 32), (36, 4), (7, 1)])
def test_groups_divide_the_channels_and_hold_at_least_eight(channels, groups):
    class Normalized(nn.Module):
        @nn.compact
        def __call__(self, x):
            return normalize(x, "group", train=True, dtype=jnp.float32)

    # Maps of one position: channels of the same group have mean zero.
    x = jax.random.normal(KEY, (2, 1, 1, channels))
    out, _ = jax.jit(Normalized().init_with_output)(KEY, x)
    out = np.asarray(out).reshape(2, groups, channels // groups)
    np.testing.assert_allclose(out.mean(-1), 0, atol=1e-5)


def test_statistics_of_a_sharded_batch_are_those_of_the_whole():
    model, images = FirstLayer(), images_of()
    variables = drawn(model)
    apply = jax.jit(partial(model.apply, train=True, mutable=["batch_stats"]))
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    one, two = apply(variables, images), apply(variables, jax.device_put(images, spread))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), one, two)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["resnet", "bottleneck", "wide"])
def test_normalization_is_told_from_the_rest(name, norm):
    params = shapes_of(TINY[name].clone(norm=norm))["params"]
    mask = jax.tree_util.tree_map_with_path(is_normalization, params)
    flat = zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(mask), strict=True)
    for (path, leaf), is_norm in flat:
        owner = path[-2].key
        assert is_norm == owner.startswith(("BatchNorm", "GroupNorm"))
        assert is_norm <= (leaf.ndim == 1)
        assert (path[-1].key == "bias") <= (is_norm or norm == "none" or owner.startswith("Dense"))
    assert any(jax.tree.leaves(mask)) == (norm != "none")


def test_normalization_of_a_vision_transformer_is_its_layer_norms():
    params = shapes_of(build("vit_tiny", 10))["params"]
    mask = jax.tree_util.tree_map_with_path(is_normalization, params)
    assert sum(jax.tree.leaves(mask)) == 2 * (2 * 12 + 1)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        *[
            (name, True)
            for name in ("bn", "bn1", "ln_2", "norm", "norm1", "layer_norm", "RMSNorm_0")
        ],
        *[(name, False) for name in ("Conv_0", "normal", "abn1x", "head", "turbine", "0")],
    ],
)
def test_a_normalization_layer_is_told_by_the_end_of_its_name(module, expected):
    path = (jax.tree_util.DictKey(module), jax.tree_util.DictKey("bias"))
    assert is_normalization(path, None) is expected
    assert is_normalization((*path, jax.tree_util.GetAttrKey("value")), None) is expected
    assert is_normalization(path[1:], None) is False


def test_a_vision_transformer_without_positions_sees_a_bag_of_patches():
    model, images = TINY["vit"], images_of(2, 8, 12)
    variables = drawn(model, images)
    blind = {"params": {**variables["params"], "positions": jnp.zeros((1, 6, 8))}}
    # Four rows up and four columns left, around the border.
    shuffled = jnp.roll(images, (4, 4), axis=(1, 2))
    apply = jax.jit(model.apply)
    np.testing.assert_allclose(apply(blind, images), apply(blind, shuffled), rtol=1e-4)
    moved = jnp.roll(images, (1, 1), axis=(1, 2))
    assert not np.allclose(apply(blind, images), apply(blind, moved), rtol=1e-3)
    assert not np.allclose(apply(variables, images), apply(variables, shuffled), rtol=1e-3)


def test_attention_weighs_values_by_the_softmax_of_products():
    query, key, value = np.random.default_rng(0).normal(size=(3, 2, 5, 3, 4)).astype(np.float32)
    got = attend(jnp.asarray(query), jnp.asarray(key), jnp.asarray(value))
    for n, head in np.ndindex(2, 3):
        weights = np.exp(query[n, :, head] @ key[n, :, head].T / 2)
        expected = weights @ value[n, :, head] / weights.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(got[n, :, head], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mlp", "vit"])
def test_models_without_statistics_are_the_same_in_training(name):
    model, images = TINY[name], images_of()
    variables = drawn(model)
    apply = jax.jit(model.apply, static_argnames="train")
    np.testing.assert_array_equal(
        apply(variables, images, train=True), apply(variables, images, train=False)
    )


BAD = {
    "model must be one of mlp, resnet8": {"name": "resnet9"},
    "norm must be one of batch, layer, group, none": {"name": "resnet18", "norm": "instance"},
    "norm must be layer for vit_tiny, got 'batch'": {"name": "vit_tiny", "norm": "batch"},
    "norm must be none for mlp, got 'layer'": {"name": "mlp", "norm": "layer"},
    "width must be 1 for mlp, got 2": {"name": "mlp", "width": 2},
    "width must be a number of at least 0.0625, got 0": {"name": "resnet8", "width": 0},
    "width must be a number of at least 0.0625, got -1": {"name": "wrn40_2", "width": -1},
    "width must be a number of at least 0.0625, got nan": {
        "name": "resnet18",
        "width": float("nan"),
    },
}


@pytest.mark.parametrize("sentence", BAD)
def test_what_does_not_fit_is_refused_in_a_sentence(sentence):
    with pytest.raises(ValueError, match=sentence):
        build(num_classes=10, **BAD[sentence])


def test_models_refuse_what_they_cannot_compute():
    with pytest.raises(ValueError, match="sides that are multiples of 4, got 10 x 8"):
        jax.eval_shape(TINY["vit"].init, KEY, images_of(1, 10, 8))
    with pytest.raises(ValueError, match="depth must be 4 plus a multiple of 6, got 12"):
        jax.eval_shape(WideResNet(num_classes=3, depth=12).init, KEY, images_of(1))
    with pytest.raises(ValueError, match="norm must be one of"):
        jax.eval_shape(TINY["resnet"].clone(norm="weight").init, KEY, images_of(1))
    with pytest.raises(TypeError, match="patches"):
        build("vit_tiny", 10, patches=2)


@pytest.mark.parametrize("name", MODELS)
def test_only_the_mlp_is_dense(name):
    assert is_dense(build(name, 10), (32, 32, 3)) == (name == "mlp")


def test_a_convolution_inside_a_loop_is_found():
    class Looping(nn.Module):
        @nn.compact
        def __call__(self, images, train=False):
            kernel = self.param("kernel", nn.initializers.ones, (1, 1, 3, 3))
            convolve = lambda x, _: (jax.lax.conv(x, kernel, (1, 1), "SAME"), None)
            images = jax.lax.scan(convolve, images.transpose(0, 3, 1, 2), length=2)[0]
            return images.reshape(len(images), -1)

    assert not is_dense(Looping(), (6, 6, 1))


def test_a_name_may_be_refined():
    model = build("mlp", 10, hidden_widths=(3,))
    assert count(shapes_of(model, size=2)["params"]) == 12 * 3 + 3 + 3 * 10 + 10
    assert build("wrn28_10", 10, depth=16).depth == 16
