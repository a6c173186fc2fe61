"""Services: the only part of the page that uses training, inference and ctm. Plain data in, plain data out."""
