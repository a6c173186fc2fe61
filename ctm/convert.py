"""Command `python -m ctm.convert`: convert a checkpoint of the original code; see `ctm.conversion.convert`."""

import sys

from ctm.conversion.convert import main

if __name__ == "__main__":
    main(sys.argv[1:])
