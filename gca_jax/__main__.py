"""`python -m gca_jax`: pretrain an encoder, evaluate it, report."""

from gca_jax.cli import start

if __name__ == "__main__":
    start()
