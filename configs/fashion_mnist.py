"""Fashion-MNIST: 60,000 grey images of 28 pixels, ResNet-18, 100 epochs.

Method: arXiv 2502.20141, which has none on Fashion-MNIST; recipe: our own, `gca_jax/config.py`.

    python main.py --mode=prepare --config=configs/fashion_mnist.py  # once
    python main.py --config=configs/fashion_mnist.py:gca_uot --workdir=runs/fashion_mnist
    python main.py --config=configs/fashion_mnist.py:gca_uot,smoke --workdir=runs/smoke  # a minute

Expected time: about 30 minutes, an estimate (5.2 GFLOP an image).
Expected numbers: none published; the recipe is tuned for no method.
"""

from gca_jax import config


def get_config(words: str = "") -> config.ConfigDict:
    return config.make(
        words,
        data=dict(name="fashion_mnist", **config.TFDS),
        side=28,
        augment=dict(policy="fashion_mnist", mean=(0.2860,), std=(0.3530,)),
        train=dict(epochs=100),
    )
