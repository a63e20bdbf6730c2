"""Fashion-MNIST: 60,000 grey images of 28 pixels; ResNet-18, 100 epochs, or `small`.

Method: arXiv 2502.20141, which has none on Fashion-MNIST; recipe: our own, `gca_jax/config`.

    python main.py --mode=prepare --config=configs/fashion_mnist.py  # once
    python main.py --config=configs/fashion_mnist.py:gca_uot --workdir=runs/fashion_mnist
    python main.py --config=configs/fashion_mnist.py:gca_uot,small --workdir=runs/small  # two cores
    python main.py --config=configs/fashion_mnist.py:gca_uot,smoke --workdir=runs/smoke  # a minute

Expected time: about 30 minutes on a GPU, an estimate (5.2 GFLOP an image); `small` 18 minutes of
training on two quiet cores, 729 images a second.
Expected numbers: none published. Measured with `small` and GCA-UOT, seed 0, on test images: linear
87.4 % (raw pixels 84.6), with ten labels a class 74.3 % (70.4), k-NN 86.9 % (86.2);
docs/results/paper.md.
"""

from gca_jax import config

LARGE: config.Settings = dict(train=dict(epochs=100))
SMALL: config.Settings = dict(  # for two CPU cores: 27 MFLOP an image, its two views trained with
    resnet=dict(stage_sizes=(1, 1, 1), width=32, stem="imagenet"),
    heads=dict(projector_hidden=256, projector_dim=64),
    optimizer={**config.ADAMW, "learning_rate": 3e-3, "warmup_epochs": 0.3},
    train=dict(batch_size=128, epochs=13),
    loss=dict(epsilon=0.1),
    byol=dict(target_decay=0.97),
)


def get_config(options: str = "") -> config.ConfigDict:
    small = "small" in options.split(",")
    made = config.make(
        "images",
        options,
        data=dict(name="fashion_mnist", **config.TFDS),
        side=28,
        augment=dict(policy="fashion_mnist", mean=(0.2860,), std=(0.3530,)),
        own_words=("small",),
        **(SMALL if small else LARGE),
    )
    if small:
        made.augment.update(crop_scale=(0.4, 1.0), erase_probability=0.0, gain=0.6, gamma=0.6)
    return made
