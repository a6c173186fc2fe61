"""Image data sets: reading, streaming, preprocessing and augmentation; mazes."""
