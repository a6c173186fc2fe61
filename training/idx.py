"""Command `python -m training.idx`; see `training.data.idx_to_parquet`."""

from training.data.idx_to_parquet import main

if __name__ == "__main__":
    main()
