"""Compare halting policies on test digits: accuracy against ticks.

Run: python -m examples.halting_policies
"""

import torch

import ctm
from inference import Engine, parse
from training.tasks import build_task

NUM_SAMPLES = 200


def main() -> None:
    """Print accuracy and mean ticks of the policies of halting.json, and of some others."""
    checkpoint = ctm.load_pretrained("checkpoints/digits")
    task = build_task(checkpoint.task)
    batch = task.sample("test", NUM_SAMPLES, torch.Generator().manual_seed(0))

    policies = {name: record["policy"] for name, record in checkpoint.halting["policies"].items()}
    policies |= {"every tick": "certainty>1", "two ticks": "ticks=2", "patience": "same=3", "both": "energy<-3&same=2"}
    for name, policy in policies.items():
        result = Engine(checkpoint.model, parse(policy)).run(batch.inputs)
        accuracy = (result.answer.argmax(1) == batch.targets[:, 0]).float().mean().item()
        print(f"{name:40} {policy:32} {accuracy:6.1%} in {result.ticks.float().mean().item():4.1f} ticks")


if __name__ == "__main__":
    main()
