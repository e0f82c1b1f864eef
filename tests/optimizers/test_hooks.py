"""What the methods of a wrapper are given, and what it is made of."""

import keras
import numpy as np
import pytest
from keras import layers, ops, optimizers

from tests.helpers import arrays
from tests.optimizers.harness import Masking, Slow, X, Y, equal, net, trained
from tfdeep.optimizers import OptimizerWrapper
from tfdeep.optimizers.wrapper import innermost
from tfdeep.privacy import GaussianMechanism, PrivateModel


def sgd(**kwargs):
    return optimizers.SGD(0.1, momentum=0.9, **kwargs)


def test_what_follows_an_update_is_not_done_between_updates():
    optimizer = Slow(optimizers.SGD(0.5, gradient_accumulation_steps=3))
    weight = keras.Variable([1.0])
    optimizer.build([weight])
    found = []
    for _ in range(6):
        optimizer.apply([ops.array([1.0])])
        found.append((int(optimizer.count), float(weight[0])))
    assert found == [
        (0, 1.0), (0, 1.0), (1, 0.5), (1, 0.5), (1, 0.5), (2, 0.5),
    ]  # fmt: skip
    # From 1 to 0.5 to 0, and half the way back.
    assert float(optimizer.slow[0][0]) == 0.5


def test_private_training_counts_the_updates_of_the_optimizer_inside():
    def run(wrap):
        model = PrivateModel(net(), mechanism=GaussianMechanism(0.0))
        model.compile(wrap(sgd(gradient_accumulation_steps=2)), "mse")
        model.fit(X, Y, batch_size=4, shuffle=False, verbose=0)
        taken = model.memory.counts()["updates_taken"]
        return [taken, *arrays(model.base.weights)]

    plain = run(lambda inner: inner)
    assert plain[0] == 2
    equal(run(OptimizerWrapper), plain)


def test_a_hook_gets_all_weights_in_their_order():
    seen = []

    class Noting(OptimizerWrapper):
        def before_update(self, gradients, variables):
            seen.append([g is None for g in gradients])
            assert [float(v[0]) for v in variables] == [1.0, 2.0, 3.0]
            return [None if g is None else 2 * g for g in gradients]

    weights = [keras.Variable([float(value)]) for value in (1, 2, 3)]
    optimizer = Noting(optimizers.SGD(0.5))
    optimizer.build(weights)
    optimizer.apply([ops.array([4.0]), ops.array([2.0])], weights[:0:-1])
    assert seen == [[True, False, False]]
    assert [float(w[0]) for w in weights] == [1.0, 0.0, -1.0]


def test_gradients_of_an_embedding_are_summed_as_dense_tensors():
    model = keras.Sequential(
        [keras.Input((2,)), layers.Embedding(5, 3), layers.Flatten()]
    )
    model.compile(Masking(sgd(), kept=1.0), "mse", jit_compile=False)
    model.fit(np.array([[1, 3]]), np.ones((1, 6)), verbose=0)
    importance = arrays(model.optimizer.importance)[0]
    assert np.count_nonzero(importance.sum(1)) == 2


def test_wrappers_wrap_wrappers():
    run = trained(OptimizerWrapper(Slow(sgd())))
    plain = trained(Slow(sgd()))
    equal(run["weights"], plain["weights"])
    assert innermost(run["model"].optimizer).momentum == 0.9
    run["model"].optimizer.clipnorm = 0.5
    assert innermost(run["model"].optimizer).clipnorm == 0.5


def test_a_name_stands_for_an_optimizer():
    assert isinstance(OptimizerWrapper("adam").inner_optimizer, optimizers.Adam)


def test_what_is_refused():
    with pytest.raises(TypeError, match="must be a Keras optimizer"):
        OptimizerWrapper(3)
    with pytest.raises(ValueError, match="LossScaleOptimizer"):
        OptimizerWrapper(optimizers.LossScaleOptimizer(sgd()))
    with pytest.raises(ValueError, match="`clipnorm` must be set on the opt"):
        OptimizerWrapper(sgd(), clipnorm=1.0)
    optimizer = OptimizerWrapper(sgd())
    with pytest.raises(ValueError, match="trainable_variables"):
        optimizer.apply([ops.ones((1,))])
    weight = keras.Variable([1.0])
    optimizer.build([weight])
    with pytest.raises(ValueError, match="2 gradients for 1 weights"):
        optimizer.apply([ops.ones((1,))] * 2)
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer.apply([ops.ones((1,))], [keras.Variable([1.0])])
