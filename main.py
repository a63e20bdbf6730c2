"""Pretrain an encoder, evaluate it, report: `python -m gca_jax` of this checkout."""

from gca_jax.__main__ import start

if __name__ == "__main__":
    start()
