"""Which images a batch has, and how they come from memory or disk."""
