r"""PACS: pictures of seven classes in four domains, with the domains in the target plan.

Paper: arXiv 2502.20141, section 6.2, which has ResNet-18 and `gca_ince`; it gives no values, batch
size or epochs, so those are our own. What this file leaves alone is in `gca_jax/config`.

    python main.py --mode=prepare --config=configs/pacs.py --config.data.root=DIR  # once
    python main.py --config=configs/pacs.py:gca_ince --config.data.root=DIR --workdir=runs/pacs
    python main.py --config=configs/pacs.py:gca_ince,smoke --config.data.root=DIR \
        --workdir=runs/smoke  # a minute

In the target plan the two views of an image weigh 1, images of one domain `alpha` and of two
domains `beta`. `--config.data.held_out=sketch` keeps a domain for the test.

Expected time: about 40 minutes, an estimate (22 GFLOP an image).
Expected numbers, published (Fig. 1B, gca_ince): a linear readout of the domain goes from 72.11 to
95.16 % as alpha - beta grows, that of the class is not diminished; the report has both.
"""

from gca_jax import config


def get_config(options: str = "") -> config.ConfigDict:
    return config.make(
        "images",
        options,
        data=dict(name="pacs", **config.PICTURES),
        side=224,
        augment=dict(policy="strong", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        method="gca_ince",  # the paper's here
        target=dict(name="blocks", alpha=0.01, beta=0.0),  # images of one domain attract
        train=dict(batch_size=128),  # fits one GPU at 224 pixels
        smoke=dict(size=64),
    )
