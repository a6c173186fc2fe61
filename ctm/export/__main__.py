"""Command `python -m ctm.export`: write a checkpoint in a format that other runtimes execute.

python -m ctm.export onnx CHECKPOINT --out DIR
"""

import argparse
import sys
from pathlib import Path

from ctm.checkpoint import load
from ctm.export.onnx_export import export_onnx
from ctm.stores import resolve_checkpoint_dir


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m ctm.export", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="format", required=True, metavar="FORMAT")
    onnx = commands.add_parser("onnx", help="two graphs, `encode` and `tick`, for onnxruntime")
    onnx.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint directory, or hub:namespace/name")
    onnx.add_argument("--out", type=Path, required=True, metavar="DIR", help="directory to write")
    args = parser.parse_args(arguments)
    try:
        folder = export_onnx(load(resolve_checkpoint_dir(args.checkpoint)[0]), args.out)
    except (ValueError, OSError) as error:
        raise SystemExit(f"Error: {error}") from None
    sizes = ", ".join(f"{path.name} {path.stat().st_size / 1e6:.1f} MB" for path in sorted(folder.iterdir()))
    print(f"{args.out}: {sizes}")


if __name__ == "__main__":
    main(sys.argv[1:])
