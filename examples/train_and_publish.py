"""Train a small model, use it, and publish it if a repository is named.

Run: python -m examples.train_and_publish --repo me/ctm-arithmetic train.steps=2000

Publishing needs a token with write access in HF_TOKEN. Further arguments are settings of the recipe.
"""

import argparse

import ctm
from training.__main__ import main as run_training_command


def main() -> None:
    """Train `configs/arithmetic.yaml`, predict with the result, and load it from the Hub after publishing it."""
    parser = argparse.ArgumentParser(description="Train a small model and publish it.")
    parser.add_argument("--repo", help="namespace/name on the Hub (default: do not publish)")
    parser.add_argument("--run-dir", default="runs/arithmetic-example")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_intermixed_args()

    run_training_command(["train", "configs/arithmetic.yaml", "--run-dir", args.run_dir, *args.overrides])
    print(ctm.pipeline(f"{args.run_dir}/checkpoint")("3 7 11 15")["sentence"])

    if args.repo:
        run_training_command(["publish", args.run_dir, "--repo", args.repo])
        print(ctm.pipeline(args.repo)("2 4 6 8")["sentence"])


if __name__ == "__main__":
    main()
