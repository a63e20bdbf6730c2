"""STL-10: ResNet-18 pretrained on the 100,000 unlabelled images of 96 pixels.

Method: arXiv 2502.20141, which has no experiment on STL-10; recipe: our own, `gca_jax/config`.

    python main.py --mode=prepare --config=configs/stl10.py  # once
    python main.py --config=configs/stl10.py:gca_uot --workdir=runs/stl10
    python main.py --config=configs/stl10.py:gca_uot,smoke --workdir=runs/smoke  # a minute

The probes are fitted on the 5,000 labelled training images.
Expected time: about 70 minutes, an estimate (4.0 GFLOP an image).
Expected numbers: none published; the recipe is tuned for no method.
"""

from gca_jax import config


def get_config(options: str = "") -> config.ConfigDict:
    return config.make(
        "images",
        options,
        data=dict(name="stl10", **config.TFDS),
        side=96,
        augment=dict(policy="cifar", mean=(0.4467, 0.4398, 0.4066), std=(0.2603, 0.2566, 0.2713)),
    )
