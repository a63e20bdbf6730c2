"""Scripts that make data sets."""
