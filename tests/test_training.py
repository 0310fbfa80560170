"""Truncated back-propagation, data in windows, and how gradients flow along sequences."""

import functools
import itertools

import numpy as np
import pytest

import ndtape as nt
from ndtape import nn
from ndtape.errors import ArgumentError, NonFiniteError, ShapeError
from ndtape.nn import training
from ndtape.nn.gradient_flow import state_gradients, step_norms, step_ratio
from ndtape.nn.training import batchify, pad_sequences, truncated, windows

CELLS = {
    "rnn": (nn.rnn_init, nn.rnn_cell),
    "lstm": (nn.lstm_init, nn.lstm_cell),
}


def leaves(tree):
    return nt.trees.flatten(tree)[0]


def close(a, b, tolerance=1e-12):
    assert len(leaves(a)) == len(leaves(b))
    for x, y in zip(leaves(a), leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def added(trees):
    first, *others = trees
    found, structure = nt.trees.flatten(first)
    for tree in others:
        found = [x + y for x, y in zip(found, leaves(tree), strict=True)]
    return nt.trees.unflatten(structure, found)


@pytest.fixture(params=CELLS)
def model(request):
    """Parameters, a first state, twelve steps of three sequences, and the loss of a window."""
    init, cell = CELLS[request.param]
    rng = np.random.default_rng(3)
    params = {"cell": init(rng, 2, 4), "out": nn.dense_init(rng, 4, 3)}
    state = nt.trees.unflatten(
        nt.trees.flatten(nn.zero_state(params["cell"], 3))[1],
        [rng.standard_normal(x.shape) / 3 for x in leaves(nn.zero_state(params["cell"], 3))],
    )
    xs, targets = rng.standard_normal((12, 3, 2)), rng.integers(0, 3, (12, 3))

    def loss(params, state, xs, targets):
        state, hs = nn.unroll(cell, params["cell"], state, xs)
        each = nt.softmax_cross_entropy(nn.dense(params["out"], hs), targets, reduction="sum")
        return each, state

    return params, state, xs, targets, loss


# --- truncated back-propagation -------------------------------------------------------------------


@pytest.mark.parametrize("k1", [1, 4, 5, 12])
def test_windows_that_reach_to_the_start_add_up_to_the_whole(model, k1):
    """k2 = T: each window has the gradient of its own losses, through all steps before."""
    params, state, xs, targets, loss = model
    (value, end), whole = nt.value_and_grad(loss, has_aux=True)(params, state, xs, targets)
    found = list(truncated(loss, params, state, windows((xs, targets), k1), back=12))
    assert len(found) == -(-12 // k1)
    close(added([f.grads for f in found]), whole)
    close(sum(f.value for f in found), value)
    close(found[-1].state, end)


def with_cuts(loss, params, state, xs, targets, k1, back):
    """By one recording for each window, with `stop_gradient` where the window's reach begins."""

    def of_window(params, last):
        carry, here = state, 0.0
        for i in range(last + 1):
            if i == last - back + 1:
                carry = nt.stop_gradient(carry)
            part = slice(i * k1, (i + 1) * k1)
            here, carry = loss(params, carry, xs[part], targets[part])
        return here

    return [nt.grad(of_window)(params, i) for i in range(-(-len(xs) // k1))]


@pytest.mark.parametrize(("k1", "back"), [(4, 1), (3, 1), (3, 2), (2, 3), (5, 2)])
def test_the_gradient_ends_where_it_is_cut(model, k1, back):
    params, state, xs, targets, loss = model
    found = list(truncated(loss, params, state, windows((xs, targets), k1), back=back))
    expected = with_cuts(loss, params, state, xs, targets, k1, back)
    for one, other in zip(found, expected, strict=True):
        close(one.grads, other)
        assert one.norm == nn.global_norm(one.grads)
        assert one.params is params and one.memory is None
    whole = nt.grad(lambda p: loss(p, state, xs, targets)[0])(params)
    lost = added([f.grads for f in found])["cell"]["Wh"] - whole["cell"]["Wh"]
    assert np.abs(lost).max() > 1e-6  # what the cuts leave out


@pytest.mark.parametrize("back", [1, 3])
def test_a_traced_loss_is_recorded_once_for_windows_of_one_length(model, back):
    params, state, xs, targets, loss = model
    traced = nt.function(loss)
    plain = list(truncated(loss, params, state, windows((xs, targets), 2), back=back))
    for _ in range(2):
        found = list(truncated(traced, params, state, windows((xs, targets), 2), back=back))
        close([f.grads for f in found], [f.grads for f in plain])
    replayed = traced if back == 1 else training._traced_chain(traced)
    # One for one window, one for two, one for three: so many are gone through in the beginning.
    assert replayed.counters.recordings == back
    assert replayed.counters.replays == 12 - back


def test_training_goes_on_from_what_was_yielded(model):
    """Steps with Adam and clipping; a run that is interrupted and continued is the same run."""
    params, state, xs, targets, loss = model
    opt = nt.optim.adam(rate=0.02)
    cuts = list(windows((xs, targets), 3))
    run = functools.partial(truncated, loss, optimizer=opt, limit=1.0)
    whole = list(run(params, state, cuts))
    assert all(nn.global_norm(f.grads) <= 1.0 + 1e-12 for f in whole)
    assert max(f.norm for f in whole) > 1.0
    half = list(run(params, state, cuts[:2]))[-1]
    rest = list(run(half.params, half.state, cuts[2:], memory=half.memory))
    close(rest[-1].params, whole[-1].params, 0)
    assert rest[-1].memory["step"] == len(cuts)

    stepped, _ = opt.update(params, whole[0].grads, opt.init(params))
    close(whole[0].params, stepped, 0)
    (value, _), _ = nt.value_and_grad(loss, has_aux=True)(stepped, whole[0].state, *cuts[1])
    assert whole[1].value == value


def test_training_learns_a_text():
    """Symbols that come round: a state handed on knows what follows, also at a window's start."""
    text = np.array([0, 1, 2, 0, 2, 1] * 60)
    columns = batchify(text, 4)
    rng = np.random.default_rng(1)
    params = {"cell": nn.gru_init(rng, 3, 8), "out": nn.dense_init(rng, 8, 3)}

    @nt.function
    def loss(params, h, xs, targets):
        h, hs = nn.unroll(nn.gru_cell, params["cell"], h, xs)
        return nt.softmax_cross_entropy(nn.dense(params["out"], hs), targets), h

    cuts = list(windows((np.eye(3)[columns[:-1]], columns[1:]), 11))
    opt, memory, losses = nt.optim.adam(rate=0.02), None, []
    for _ in range(12):
        state = np.zeros((4, 8))
        for now in truncated(loss, params, state, cuts, optimizer=opt, memory=memory, limit=5.0):
            losses.append(now.value)
        params, memory = now.params, now.memory
    assert losses[0] > 0.9 and losses[-1] < 0.1


def test_inside_another_transform():
    """The sum of truncated gradients is a function that can be differentiated itself."""

    def loss(a, h, xs):
        for x in xs:
            h = np.tanh(a * h + x)
        return h * h, h

    xs = np.linspace(-1, 1, 6)

    def total(a, h):
        return sum(f.grads for f in truncated(loss, a, h, windows(xs, 2)))

    def by_hand(a, h):
        found = 0.0
        for part in (xs[:2], xs[2:4], xs[4:]):
            found = found + nt.grad(lambda a, h, part=part: loss(a, h, part)[0])(a, h)
            h = nt.stop_gradient(loss(a, h, part)[1])
        return found

    close(nt.grad(total, argnums=(0, 1))(0.7, 0.3), nt.grad(by_hand, argnums=(0, 1))(0.7, 0.3))


def test_what_truncated_refuses():
    def loss(a, h, x):
        return a * h * x, h

    with pytest.raises(ArgumentError, match=r"back must be a whole number from 1 on, not 0"):
        truncated(loss, 1.0, 1.0, [(1.0,)], back=0)
    for back in (1, 2):
        with pytest.raises(ArgumentError, match=r"pair"):
            list(truncated(lambda a, h, x: a * h, 1.0, 1.0, [(1.0,)], back=back))
    with pytest.raises(NonFiniteError):
        list(truncated(loss, 1.0, 1.0, [(np.inf,)], limit=1.0))


# --- data -----------------------------------------------------------------------------------------


def test_columns_and_windows_continue_each_other():
    text = np.arange(50)
    columns = batchify(text, 4)
    assert columns.shape == (12, 4)
    parts = list(windows({"x": columns[:-1], "y": columns[1:]}, 4))
    assert [len(p["x"]) for p in parts] == [4, 4, 3]
    for before, after in itertools.pairwise(parts):
        assert (before["y"][-1] == after["x"][0]).all()
    assert (np.concatenate([p["x"] for p in parts]) == columns[:-1]).all()
    assert (columns.T.ravel() == text[:48]).all()
    turned = list(windows(columns.T, 5, axis=1))
    assert (np.concatenate(turned, axis=1) == columns.T).all()
    assert batchify(np.zeros((7, 2, 3)), 3).shape == (2, 3, 2, 3)


@pytest.mark.parametrize("batch_first", [False, True])
def test_padding_has_no_influence(batch_first):
    rng = np.random.default_rng(5)
    params = nn.rnn_init(rng, 2, 3)
    sequences = [rng.standard_normal((n, 2)) for n in (4, 1, 6)]

    def padded_loss(params, value):
        xs, lengths = pad_sequences(sequences, value, batch_first)
        h, _ = nn.unroll(nn.rnn_cell, params, None, xs, lengths=lengths, batch_first=batch_first)
        return np.sum(h**2)

    def loss(params):
        ends = [nn.unroll(nn.rnn_cell, params, None, xs)[0] for xs in sequences]
        return sum(np.sum(h**2) for h in ends)

    close(nt.grad(padded_loss)(params, 1e300), nt.grad(loss)(params))
    xs, lengths = pad_sequences(sequences, batch_first=batch_first)
    assert xs.shape == ((3, 6, 2) if batch_first else (6, 3, 2)) and lengths.tolist() == [4, 1, 6]
    assert xs.dtype == np.float64
    ids, _ = pad_sequences([np.array([1, 2]), np.array([3])], value=-1)
    assert ids.dtype == np.int64 and ids.tolist() == [[1, 3], [2, -1]]


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: batchify(np.arange(3), 4), ShapeError, r"shape \(3,\) does not make 4"),
        (lambda: batchify(np.arange(3), 1.5), ArgumentError, r"batch must be a whole number"),
        (lambda: windows(np.arange(3), 0), ArgumentError, r"steps must be .* not 0"),
        (lambda: windows((), 2), ArgumentError, r"without arrays"),
        (lambda: windows({"a": np.ones(3), "b": np.ones(4)}, 2), ShapeError, r"xs\['b'\].*\(4,\)"),
        (lambda: windows(1.0, 2), ShapeError, r"shape \(\)"),
        (lambda: pad_sequences([]), ArgumentError, r"no sequence"),
        (lambda: pad_sequences([np.ones((2, 3)), np.ones((2, 4))]), ShapeError,
         r"sequence 1 has shape \(2, 4\) and must be \('T', 3\)"),
    ],
)  # fmt: skip
def test_data_that_does_not_fit(call, error, said):
    with pytest.raises(error, match=said):
        call()


# --- gradients at each step -----------------------------------------------------------------------


def fill(shape, off=0, scale=0.5):
    """The numbers of the worked examples."""
    return scale * np.sin(1.0 + off + np.arange(np.prod(shape))).reshape(shape)


def test_the_adjoints_of_three_steps_by_hand():
    """F1 of the worked examples: y = softmax(Wo h), h = σ(Wi x + Wh h), classes (0, 1, 0)."""
    Wi, Wh, Wo = fill((2, 2)), fill((2, 2), 4), fill((2, 2), 8)
    xs, classes = fill((3, 2), 12, 1.0), np.array([0, 1, 0])

    def loss(params, loop):
        Wi, Wh, Wo = params
        cell = lambda p, h, x: nt.sigmoid(p[0] @ x + p[1] @ h)  # noqa: E731
        _, hs = loop(cell, (Wi, Wh), np.array([0.1, -0.2]), xs)
        return nt.softmax_cross_entropy(hs @ Wo.T, classes, reduction="sum")

    [adjoints] = state_gradients(loss, (Wi, Wh, Wo))
    np.testing.assert_allclose(adjoints[0], [-0.325241, -0.012877], atol=1e-6)
    close(step_norms(loss, (Wi, Wh, Wo), loop=nn.unroll)[0], np.linalg.norm(adjoints, axis=1))
    # Each adjoint from the next one, by the recursion of back-propagation through time.
    h, states = np.array([0.1, -0.2]), []
    for x in xs:
        h = 1 / (1 + np.exp(-(Wi @ x + Wh @ h)))
        states.append(h)
    a = np.zeros(2)
    for t in (2, 1, 0):
        e = np.exp(Wo @ states[t])
        a = Wo.T @ (e / e.sum() - np.eye(2)[classes[t]]) + a
        np.testing.assert_allclose(adjoints[t], a, rtol=1e-12)
        a = Wh.T @ (a * states[t] * (1 - states[t]))


def by_perturbation(cell, params, state, xs, loss, t, leaf, index, e=1e-6):
    """The derivative of a loss of all states with respect to one number of the state after t."""
    values = []
    for sign in (1, -1):
        now, outputs = state, []
        for i, x in enumerate(xs):
            now = cell(params, now, x)
            if i == t:
                parts, structure = nt.trees.flatten(now)
                parts[leaf] = parts[leaf].copy()
                parts[leaf][index] += sign * e
                now = nt.trees.unflatten(structure, parts)
            outputs.append(now[0] if isinstance(now, tuple) else now)
        values.append(loss(np.stack(outputs)))
    return (values[0] - values[1]) / (2 * e)


@pytest.mark.parametrize("loop", [nn.unroll, nn.scan_layer])
def test_every_part_of_a_state_by_differences(loop):
    rng = np.random.default_rng(2)
    params, xs = nn.lstm_init(rng, 2, 3), rng.standard_normal((5, 4, 2))
    state = rng.standard_normal((4, 3)), rng.standard_normal((4, 3))
    weights = rng.standard_normal((5, 4, 3))

    def loss(params, loop):
        _, hs = loop(nn.lstm_cell, params, state, xs)
        return np.sum(np.sin(weights * hs))

    [(dh, dc)] = state_gradients(loss, params, loop=loop)
    assert dh.shape == dc.shape == (5, 4, 3)
    plain = lambda hs: np.sum(np.sin(weights * hs))  # noqa: E731
    for t, leaf, index in [(0, 0, (1, 2)), (0, 1, (3, 0)), (2, 0, (0, 0)), (3, 1, (2, 1)),
                           (4, 0, (1, 1)), (4, 1, (1, 1))]:  # fmt: skip
        found = by_perturbation(nn.lstm_cell, params, state, xs, plain, t, leaf, index)
        np.testing.assert_allclose((dh, dc)[leaf][t][index], found, rtol=1e-6, atol=1e-8)
    assert not dc[4].any()  # no step comes after
    [norms] = step_norms(loss, params, loop=loop)
    close(norms, np.sqrt((dh**2 + dc**2).sum((1, 2))))


def test_layers_and_directions_come_one_by_one():
    """Stacks, both ways, sequences of different length with the batch in front, float32."""
    rng = np.random.default_rng(4)
    params = nn.stacked_init(nn.gru_init, rng, 2, 3, 2, bidirectional=True, dtype=np.float32)
    xs = rng.standard_normal((4, 6, 2)).astype(np.float32)
    lengths = np.array([6, 2, 4, 1])

    def loss(params, xs, loop=nn.unroll):
        _, hs = nn.stacked(
            nn.gru_cell, params, None, xs, lengths=lengths, batch_first=True, loop=loop
        )
        return np.sum(hs * hs)

    found = state_gradients(loss, params, xs)
    assert [(g.shape, g.dtype) for g in found] == [((6, 4, 3), np.float32)] * 4
    beyond = np.arange(6)[:, None] >= lengths
    for g in found:
        assert not g[beyond].any() and g[~beyond].all()
    # The last layer forward: what a sequence of its own gives, cut at its end.
    alone = state_gradients(
        lambda p, x, loop: np.sum(nn.stacked(nn.gru_cell, p, None, x, loop=loop)[1] ** 2),
        params,
        xs[2, :4],
    )
    for g, one in zip(found, alone, strict=True):
        np.testing.assert_allclose(g[:4, 2], one, rtol=1e-4, atol=1e-6)


def test_gradients_vanish_and_explode():
    """F3: orthogonal weights times a factor, a linear cell: the ratio is that factor."""
    rng = np.random.default_rng(0)
    Q = nn.orthogonal(rng, (6, 6))
    xs = rng.standard_normal((400, 6))

    def loss(W, loop=nn.unroll):
        h, _ = loop(lambda W, h, x: h @ W + x, W, np.zeros(6), xs)
        return np.sum(h[:1])

    for factor in (0.01, 0.9, 1.0, 1.1, 5.0):  # 0.01**399 is nothing, 5**399 = 1e279 is not inf
        [norms] = step_norms(loss, factor * Q)
        lag = np.arange(399, -1, -1.0)
        with np.errstate(under="ignore"):
            np.testing.assert_allclose(norms, factor**lag, rtol=1e-10, atol=1e-300)
        expected = factor if factor > 0.1 else 0.0
        assert step_ratio(norms) == pytest.approx(expected, rel=1e-10)
    params = nn.rnn_init(rng, 6, 6)

    def saturating(params, loop=nn.unroll):
        h, _ = loop(nn.rnn_cell, params, None, xs)
        return np.sum(h)

    assert 0 < step_ratio(step_norms(saturating, params)[0]) < 1  # tanh' < 1, Wh orthogonal


def test_a_cut_ends_the_flow():
    """Truncated by `stop_gradient`: exactly nothing comes before."""
    rng = np.random.default_rng(0)
    params, xs = nn.rnn_init(rng, 2, 3), rng.standard_normal((8, 2))

    def loss(params, loop=nn.unroll):
        h, _ = loop(nn.rnn_cell, params, None, xs[:5])
        h, _ = loop(nn.rnn_cell, params, nt.stop_gradient(h), xs[5:])
        return np.sum(h)

    first, second = step_norms(loss, params)
    assert not first.any() and second.all()
    assert step_ratio([*first, *second]) == 0.0


def test_what_they_refuse():
    with pytest.raises(ArgumentError, match=r"my_loss runs no sequence by the `loop`"):

        def my_loss(a, loop):
            return a * a

        state_gradients(my_loss, 1.0)
    for norms in ([1.0], [0.0, 0.0], [2.0, 0.0], [1.0, np.nan], [[1.0, 2.0]], []):
        with pytest.raises(ArgumentError, match="two steps or more"):
            step_ratio(norms)
    assert step_ratio([np.inf, 1.0]) == np.inf
