r"""A data set of the Hugging Face hub, by its library: `pip install 'datasets>=4'`.

Method: arXiv 2502.20141; recipe: our own, for small colour images, and `gca_jax/config`.

    python main.py --config=configs/hf.py:gca_uot --config.data.path=uoft-cs/cifar10 \
        --config.data.image=img --config.data.label=label --workdir=runs/hf
    python main.py --config=configs/hf.py:gca_uot,smoke --config.data.path=uoft-cs/cifar10 \
        --config.data.image=img --config.data.label=label --workdir=runs/smoke  # a minute

`path` is a name on the hub, or a folder of `save_to_disk`. For larger pictures,
`--config.data.size=224 --config.model.stem=imagenet`; for grey ones, `--config.data.channels=1
--config.augment.policy=fashion_mnist`.

Expected time: about an hour for 50,000 images of 32 x 32, an estimate (6.7 GFLOP an image).
Expected numbers: none published.
"""

from gca_jax import config


def get_config(options: str = "") -> config.ConfigDict:
    return config.make(
        "images",
        options,
        data=dict(name="hf", **config.HUB),
        side=32,
        augment=dict(policy="cifar", mean=(0.5,), std=(0.5,)),
        train=dict(batch_size=256),
    )
