"""DiscoRL's rule: symmetry over actions, direction of time, the loss, gradients, and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt import policies
from lopt.objectives import DiscoRegulariser, DiscoRule
from tests.reference.disco import random_inputs, small_rule
from tests.reference.lifetimes import random_theta

RULE = small_rule()
THETA = jax.tree.map(jnp.asarray, random_theta(RULE))
PARAMS = {"w": jnp.array([1.0, -2.0])}


def state_after(rule=RULE, theta=THETA, updates=1):
    """A state whose lifetime LSTM is not at zero, where the gate would hide the inputs."""
    state = rule.initial_state(PARAMS)
    for seed in range(updates):
        state = rule.targets(theta, state, PARAMS, random_inputs(rule, 100 + seed))[1]
    return state


STATE = state_after()
targets = jax.jit(lambda inputs: RULE.targets(THETA, STATE, PARAMS, inputs))


def permuted(inputs, order):
    """The same inputs with the actions in another order."""
    order = np.asarray(order)

    def outputs(out):
        aux_policy = out.aux_policy[..., order, :][..., order]
        return out.replace(
            policy=out.policy[..., order], z=out.z[..., order, :], q=out.q[..., order, :], aux_policy=aux_policy
        )

    action = jnp.asarray(np.argsort(order))[inputs.traj.action]
    return inputs.replace(
        traj=inputs.traj.replace(action=action),
        behaviour=inputs.behaviour[..., order],
        **{name: outputs(getattr(inputs, name)) for name in ("out", "out_next", "target", "target_next")},
    )


@pytest.mark.parametrize("num_actions", [2, 3, 7, 18])
def test_a_permutation_of_the_actions_permutes_pi_hat_and_changes_nothing_else(num_actions):
    order = np.random.default_rng(1).permutation(num_actions)
    inputs = random_inputs(RULE, num_actions=num_actions)
    (first, state), (second, other) = targets(inputs), targets(permuted(inputs, order))
    close = {"rtol": 1e-3, "atol": 1e-4}
    np.testing.assert_allclose(second.policy, first.policy[..., order], **close)
    for a, b in ((first.y, second.y), (first.z, second.z), (first.value, second.value), (state.hidden, other.hidden)):
        np.testing.assert_allclose(a, b, **close)
    assert np.ptp(np.asarray(first.policy), axis=-1).max() > 1e-2


def test_targets_depend_on_no_step_before_nor_after_the_end_of_the_episode():
    inputs = random_inputs(RULE, T=6, B=1)
    discount = jnp.array([1.0, 1, 0, 1, 1, 1])[:, None]
    traj = inputs.traj.replace(discount=discount, truncated=jnp.zeros((6, 1), bool))
    inputs = inputs.replace(traj=traj)
    # moments are of the whole batch: they are held fixed by a change that leaves the advantages alone
    base = targets(inputs)[0]
    for step, unchanged in ((0, slice(1, None)), (3, slice(0, 3))):
        changed = inputs.replace(out=inputs.out.replace(y=inputs.out.y.at[step].add(3.0 * jnp.arange(4.0))))
        after = targets(changed)[0]
        np.testing.assert_array_equal(after.y[unchanged], base.y[unchanged])
        np.testing.assert_array_equal(after.policy[unchanged], base.policy[unchanged])
        assert (np.asarray(after.y[step]) != np.asarray(base.y[step])).any()


def test_the_lifetime_state_changes_the_targets_and_target_parameters_move_slowly():
    inputs = random_inputs(RULE)
    initial = RULE.targets(THETA, RULE.initial_state(PARAMS), PARAMS, inputs)
    assert (np.asarray(initial[0].y) != np.asarray(targets(inputs)[0].y)).any()
    state = initial[1].replace(target_params={"w": jnp.zeros(2)})
    after = RULE.targets(THETA, state, PARAMS, inputs)[1]
    np.testing.assert_allclose(after.target_params["w"], 0.1 * PARAMS["w"], rtol=1e-6)


def test_the_loss_is_the_sum_of_its_terms():
    inputs = random_inputs(RULE)
    target, _ = targets(inputs)
    out, action = inputs.out, np.asarray(inputs.traj.action)
    t, b = np.ix_(*map(np.arange, action.shape))
    z, q, aux = out.z[t, b, action], out.q[t, b, action], out.aux_policy[t, b, action]
    expected = {
        "policy": optax.losses.kl_divergence(jax.nn.log_softmax(out.policy), jax.nn.softmax(target.policy)),
        "y": optax.losses.kl_divergence(jax.nn.log_softmax(out.y), jax.nn.softmax(target.y)),
        "z": optax.losses.kl_divergence(jax.nn.log_softmax(z), jax.nn.softmax(target.z)),
        "auxiliary": inputs.traj.discount
        * optax.losses.kl_divergence(jax.nn.log_softmax(aux), jax.nn.softmax(inputs.out_next.policy)),
        "action_value": 0.2 * optax.softmax_cross_entropy(q, RULE.bins.two_hot(target.value)),
    }
    terms = RULE.losses(out, inputs, target)
    assert terms.keys() == expected.keys()
    for name, term in expected.items():
        np.testing.assert_allclose(terms[name], term, rtol=1e-4, atol=1e-5, err_msg=name)
    loss, metrics = RULE.loss(out, inputs, target)
    np.testing.assert_allclose(loss, sum(float(term.mean()) for term in expected.values()), rtol=1e-4)
    assert set(metrics) == {f"{name}_loss" for name in expected}


def test_gradients_flow_through_y_and_z_alone():
    inputs = random_inputs(RULE)

    def total(outputs):
        changed = inputs.replace(out=outputs[0], target=outputs[1])
        made, state = RULE.targets(THETA, STATE, PARAMS, changed)
        return made.policy.sum() + made.y.sum() + made.z.sum() + made.value.sum() + state.hidden.sum()

    for grads in jax.grad(total)((inputs.out, inputs.target)):
        for name in ("policy", "q", "aux_policy"):
            np.testing.assert_array_equal(getattr(grads, name), np.zeros_like(getattr(grads, name)))
        assert np.any(grads.y) and np.any(grads.z)


def test_regularisers_of_training_and_validation():
    inputs = random_inputs(RULE)
    target, _ = targets(inputs)
    only = {"policy_entropy": 0.0, "prediction_entropy": 0.0, "target_mean": 0.0, "target_kl": 0.0}
    means = DiscoRegulariser(**(only | {"target_mean": 1.0})).training(inputs, target)
    np.testing.assert_allclose(means, sum(float(x.mean()) ** 2 for x in (target.policy, target.y, target.z)), rtol=1e-4)
    divergence = DiscoRegulariser(**(only | {"target_kl": 1.0})).training(inputs, target)
    np.testing.assert_allclose(divergence, policies.kl(inputs.target.policy, target.policy).mean(), rtol=1e-5)
    entropy = DiscoRegulariser(**(only | {"policy_entropy": 1.0})).validation(inputs.out, inputs.traj.action)
    np.testing.assert_allclose(entropy, -policies.entropy(inputs.out.policy).mean(), rtol=1e-5)


@pytest.mark.parametrize(
    ("sizes", "count"),
    [((600, 256, 128), 754_778), ((32, 64, 32), 41_706)],
)
def test_number_of_meta_parameters(sizes, count):
    prediction_size, hidden, lifetime_hidden = sizes
    rule = DiscoRule(prediction_size=prediction_size, hidden=hidden, lifetime_hidden=lifetime_hidden)
    shapes = jax.eval_shape(rule.init, jax.random.key(0))
    assert sum(x.size for x in jax.tree.leaves(shapes)) == count


def test_outputs_of_another_form_are_refused():
    inputs = random_inputs(RULE)
    wide = random_inputs(small_rule(prediction_size=5))
    many = random_inputs(RULE, num_actions=4)
    real = inputs.replace(traj=inputs.traj.replace(action=jnp.zeros((6, 3, 2))))
    for wrong, message in (
        (wide, r"out\.y must be \[T, B, 4\].*got \[T, B, 5\]"),
        (inputs.replace(out=many.out), r"out\.policy must be \[T, B, 3\], of 3 actions.*got \[T, B, 4\]"),
        (inputs.replace(target=inputs.target.replace(z=many.target.z)), r"target\.z must be \[T, B, 3, 4\]"),
        (real, "actions must be discrete.*got float32"),
    ):
        with pytest.raises(ValueError, match=message):
            RULE.targets(THETA, STATE, PARAMS, wrong)


def test_a_theta_of_other_sizes_is_refused():
    with pytest.raises(ValueError, match=r"theta does not belong to this rule: .*must be \(.*prediction_size 5"):
        small_rule(prediction_size=5).check_theta(THETA)
    with pytest.raises(ValueError, match=r"gate/bias must be \(8,\) \(got no such array\)"):
        RULE.check_theta({name: x for name, x in THETA.items() if name != "gate"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": 0}, r"DiscoRule: hidden must be at least 1 \(got 0\)"),
        ({"gamma": 1.5}, r"gamma must be in \[0, 1\] \(got 1.5\)"),
        ({"target_decay": 1.0}, r"target_decay must be in \[0, 1\) \(got 1.0\)"),
        ({"value_weight": float("nan")}, r"value_weight must not be negative.*got nan"),
    ],
)
def test_bad_rules(changes, message):
    with pytest.raises(ValueError, match=message):
        small_rule(**changes)
