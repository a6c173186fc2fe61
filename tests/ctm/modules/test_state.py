"""Test the state classes: history against a plain list, synchronisation against its definition."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from ctm.modules.state import PreActivationHistory, SyncAccumulator

STEP = st.tuples(st.integers(0, 10_000), st.sampled_from(["slide", "slide", "slide", "copy", "select"]))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(memory=st.integers(1, 4), reserve_ticks=st.integers(0, 5), steps=st.lists(STEP, max_size=25))
def test_every_history_in_a_tree_of_unrolls_keeps_its_own_last_ticks(memory, reserve_ticks, steps):
    """Extend earlier histories, or select rows of them, with and without gradients; no other history may change."""
    initial = [torch.full((2, 2), -float(k)) for k in range(memory)]  # one (D, B) tensor per tick, oldest first
    histories = [(PreActivationHistory.from_window(torch.stack(initial, 1), reserve_ticks), initial)]
    for step, (index, operation) in enumerate(steps):
        history, expected = histories[index % len(histories)]
        if operation == "select":
            rows = torch.tensor([1, 0])
            histories.append((history.select_rows(rows, reserve_ticks), [column[:, rows] for column in expected]))
            continue
        newest = torch.arange(4.0).reshape(2, 2) + 10 * step
        with torch.set_grad_enabled(operation == "copy"):
            histories.append((history.append(newest.T), [*expected, newest]))
    for history, expected in histories:
        assert torch.equal(history.window, torch.stack(expected[-memory:], 1))
        assert torch.equal(history.latest, expected[-1])


def test_a_history_with_spare_capacity_slides_instead_of_copying():
    with torch.no_grad():
        history = PreActivationHistory.from_window(torch.zeros(3, 4, 2), reserve_ticks=5)
        for number in range(5):
            longer = history.append(torch.full((2, 3), float(number)))
            assert longer.buffer is history.buffer
            history = longer
        assert history.append(torch.zeros(2, 3)).buffer is not history.buffer


def test_gradients_flow_through_appended_and_selected_histories():
    window, newest = torch.zeros(2, 3, 2, requires_grad=True), torch.zeros(2, 2, requires_grad=True)
    history = (
        PreActivationHistory.from_window(window, reserve_ticks=2)
        .append(newest)
        .select_rows(torch.tensor([1]), reserve_ticks=3)
    )
    history.window.sum().backward()
    expected = torch.zeros(2, 3, 2)
    expected[:, 1:, 1] = 1  # the oldest column and the other row are gone
    assert torch.equal(window.grad, expected)
    assert torch.equal(newest.grad, torch.tensor([[0.0, 0.0], [1.0, 1.0]]))


@settings(max_examples=50, deadline=None, derandomize=True)
@given(ticks=st.integers(1, 12), decay=st.floats(0, 15, width=32))
def test_a_running_synchronisation_equals_its_sum(ticks, decay):
    products = torch.randn(ticks, 3, 2, generator=torch.Generator().manual_seed(ticks))
    sync = SyncAccumulator(torch.zeros(3, 2), torch.zeros(3, 1))
    retention = torch.full((3, 1), -decay).exp()
    for product in products:
        sync = sync.update(product, retention)
    weights = torch.exp(-decay * torch.arange(ticks - 1, -1, -1.0))
    assert_close(sync.value, torch.einsum("t,tsb->sb", weights, products) / weights.sum().sqrt(), rtol=1e-4, atol=1e-5)


def test_updating_a_synchronisation_does_not_change_the_original():
    sync = SyncAccumulator(torch.ones(2, 1), torch.ones(2, 1))
    sync.update(torch.ones(2, 1), torch.ones(2, 1))
    assert torch.equal(sync.alpha, torch.ones(2, 1)) and torch.equal(sync.beta, torch.ones(2, 1))
