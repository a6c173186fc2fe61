"""How a training is started on one device or on several."""

from training.config import RunConfig


def build_training_command(python: str, devices: int, config: RunConfig, recipe: str, run_dir: str) -> list[str]:
    """The training program, through Accelerate's launcher where it has several devices.

    Args:
        python: the interpreter.
        devices: processes, one a device.
        config: the run's settings.
        recipe: where they are read from.
        folder: the run folder.
    """
    train = ["training", "train", recipe, "--folder", run_dir]
    if devices == 1:
        return [python, "-m", *train]
    if config.train.device == "cpu":  # Accelerate's launcher would start one process alone
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
