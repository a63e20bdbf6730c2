"""Pretrain an encoder, evaluate it, report: `python -m gca_jax` of this checkout."""

from gca_jax.cli import start

if __name__ == "__main__":
    start()
