"""Tests of the cost of a training: processor time over resumptions, and operations against a count of every step."""

import pytest

from tests.training.test_trainer import TINY_RECIPE, make_tiny_config
from training.config import RunConfig
from training.flops import count_flops
from training.trainer import Trainer
from training.training_cost import TrainingCost, format_flops, format_processor_time, measure_training_cost


def test_operations_equal_those_of_all_counted_steps():
    """Compare with a count of every step: batches are added, the auxiliary losses end after half of the steps."""
    config = RunConfig.parse(
        TINY_RECIPE | {"loss": {"probe_loss_weight": 1.0, "auxiliary_loss_share": 0.5}}
    ).with_overrides({"train.steps": 4, "train.gradient_accumulation_steps": 2})
    trainer = Trainer(config)
    trainer.prepare()
    batches = trainer.iterate_batches()
    expected = [count_flops(lambda: trainer.train_step(batches)) for _ in range(4)]
    cost = measure_training_cost(config, [trainer.cost.to_dict()])
    assert cost["flops"] == sum(expected) and expected[0] > expected[-1] > 0
    assert cost["processor_seconds"] > 0


def test_operations_that_depend_on_the_content_are_left_out():
    values = {"task": {"kind": "qamnist", "operations": 1}, "model": {"d_model": 16, "d_input": 8, "heads": 2}}
    values["model"] |= {
        "n_synch_out": 8,
        "n_synch_action": 8,
        "synapse_depth": 1,
        "memory_length": 3,
        "memory_hidden_dims": 2,
    }
    batches = [{"stage": 1, "shape": [8, 8, 1025], "has_auxiliary_loss": False, "rank": 0, "num_processes": 1}]
    costs = [{"processor_seconds": 2.0, "batches": [batches[0] | {"index": 0, "count": 3}]}]
    assert measure_training_cost(RunConfig.parse(values), costs) == {"processor_seconds": 2.0}


def test_cost_of_a_run_that_did_not_record_it_stays_unknown():
    """A run of version 0.1 that is resumed."""
    cost = TrainingCost()
    cost.restore(None, rank=0)
    assert cost.to_dict() == {"processor_seconds": None, "batches": None}
    assert measure_training_cost(make_tiny_config(), [cost.to_dict()]) == {}
    assert measure_training_cost(make_tiny_config(), None) == {}


def test_rank_0_continues_the_sum_over_all_processes():
    kinds = [
        {
            "stage": 1,
            "shape": [8, 9],
            "has_auxiliary_loss": False,
            "rank": rank,
            "num_processes": 2,
            "index": 0,
            "count": 5,
        }
        for rank in range(2)
    ]
    costs = [{"processor_seconds": 10.0 + rank, "batches": [kinds[rank]]} for rank in range(2)]
    first, second = TrainingCost(), TrainingCost()
    first.restore(costs, rank=0)
    second.restore(costs, rank=1)
    assert 21 <= first.to_dict()["processor_seconds"] < 22 and second.to_dict()["processor_seconds"] < 1
    assert [batch["count"] for batch in first.to_dict()["batches"]] == [5, 5] and not second.to_dict()["batches"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (3.26, "3.3 s"), (90, "1.5 min"), (7200, "2.0 h"), (3_600_000, "1,000.0 h")]
)
def test_processor_time_has_a_unit_that_fits(seconds, text):
    assert format_processor_time(seconds) == text


@pytest.mark.parametrize(
    ("flops", "text"),
    [(None, "-"), (2e6, "2 MFLOP"), (1.5e9, "1.5 GFLOP"), (1.234e13, "12.3 TFLOP"), (2e15, "2 PFLOP")],
)
def test_operations_have_a_unit_that_fits(flops, text):
    assert format_flops(flops) == text
