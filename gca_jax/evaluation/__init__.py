"""What an encoder has learned: probes on frozen features, beside honest baselines."""
