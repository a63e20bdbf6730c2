"""Many small functions, each run once."""
