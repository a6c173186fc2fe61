"""Command line that starts a training run on one or several devices."""

from training.config import RunConfig


def build_training_command(
    python: str, devices: int, config: RunConfig, recipe: str, run_dir: str, is_upload_disabled: bool = False
) -> list[str]:
    """Build the command of a training run, through a launcher if it has several devices.

    Args:
        python: Python interpreter.
        devices: Number of processes, one per device.
        config: Configuration of the run.
        recipe: Path of the recipe, or `env:NAME` for an environment variable that holds it.
        run_dir: Run directory.
        is_upload_disabled: Whether another process delivers the outbox of the run.
    """
    train = ["training", "train", recipe, "--run-dir", run_dir, *(["--no-upload"] if is_upload_disabled else [])]
    if devices == 1:
        return [python, "-m", *train]
    if config.train.device == "cpu":  # Accelerate's launcher would start a single process
        launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(devices)]
    else:
        launcher = [
            "accelerate.commands.launch",
            "--multi_gpu",
            "--num_processes",
            str(devices),
            "--num_machines",
            "1",
            "--mixed_precision",
            config.train.mixed_precision,
            "--dynamo_backend",
            "no",
            "--main_process_port",
            "0",
        ]
    return [python, "-m", *launcher, "-m", *train]
