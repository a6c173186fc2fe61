"""Films of one unroll: what the stage of the page shows, drawn frame by frame without a browser."""
