"""Which images, in which order, and their views."""
