"""Entry point of `python -m training`; `training.cli.parser` lists the commands."""

from training.cli.parser import build_parser
from training.failures import classify_failure


def main(arguments: list[str] | None = None) -> None:
    """Run one command.

    Args:
        arguments: Words of the command line; None takes those of the process.

    Raises:
        SystemExit: The arguments are wrong, or the command failed for a known reason; the message is one sentence.
    """
    parser = build_parser()
    args, rest = parser.parse_known_args(arguments)
    if rest and (not hasattr(args, "overrides") or any(word.startswith("-") or "=" not in word for word in rest)):
        parser.error(f"not understood: {' '.join(rest)}")
    if rest:  # argparse reads positional `key=value` words only up to the first option
        args.overrides += rest
    try:
        args.run_command(args)
    except Exception as error:
        reason, message = classify_failure(error)
        if reason == "crash":
            raise
        raise SystemExit(f"Error: {message}") from None


if __name__ == "__main__":
    main()
