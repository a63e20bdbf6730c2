r"""Your own arrays: an .npz file with images and, if you have them, labels and domains.

Method: arXiv 2502.20141; recipe: our own, for small colour images, and `gca_jax/config`.

    python main.py --config=configs/arrays.py:gca_uot --config.data.file=X.npz --workdir=runs/arrays
    python main.py --config=configs/arrays.py:gca_uot,smoke --config.data.file=X.npz \
        --workdir=runs/smoke  # a minute

X.npz is made by `numpy.savez("X.npz", images=..., labels=...)`: images [n, h, w, c] or [n, h, w],
uint8 or floats in [0, 1]; labels [n] and domains [n] may be left out, and test_images, test_labels
and test_domains may be added (without them a fifth is held out). For grey images,
`--config.augment.policy=fashion_mnist`; to align by domains, `--config.target.name=blocks
--config.target.alpha=0.01`.

Expected time: about an hour for 50,000 images of 32 x 32, an estimate (6.7 GFLOP an image).
Expected numbers: none published.
"""

from gca_jax import config


def get_config(options: str = "") -> config.ConfigDict:
    return config.make(
        "images",
        options,
        data=dict(name="arrays", **config.ARRAYS),
        side=32,
        augment=dict(policy="cifar", mean=(0.5,), std=(0.5,)),
        train=dict(batch_size=256),
    )
