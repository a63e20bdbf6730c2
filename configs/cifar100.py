"""The paper's CIFAR-100 run: ResNet-18, 500 epochs, batch 512.

Paper: arXiv 2502.20141, section 6 and Table 2; settings: the authors' code, `gca_jax/config`.

    python main.py --mode=prepare --config=configs/cifar100.py  # once
    python main.py --config=configs/cifar100.py:gca_uot --workdir=runs/cifar100
    python main.py --config=configs/cifar100.py:gca_uot,smoke --workdir=runs/smoke  # a minute

The extreme augmentations (Ex): see `configs/cifar10.py`.

Expected time: about 2.5 hours, an estimate (6.7 GFLOP an image).
Expected numbers, published (Table 2: linear evaluation in %, mean and deviation over 5 seeds):

    method      CIFAR-100         CIFAR-100 (Ex)
    ince        70.07 ± 0.42      54.70 ± 0.43
    gca_ince    70.11 ± 0.45      54.91 ± 0.56
    rince       69.06 ± 0.64      55.43 ± 0.48
    gca_rince   69.72 ± 0.27      55.90 ± 0.41
    simclr      69.95 ± 0.14      54.54 ± 0.79
    byol        69.75 ± 0.37      54.18 ± 0.46
    iot         67.19 ± 0.21      52.40 ± 0.48
    iot_uni     67.03 ± 0.40      53.04 ± 0.52
    gca_uot     71.45 ± 0.37      56.30 ± 0.51

These are of another protocol (docs/authors_code.md), which is
`--mode=study --config=configs/studies/table2.py:cifar100,published`.
"""

from gca_jax import config


def get_config(options: str = "") -> config.ConfigDict:
    return config.make(
        "images",
        options,
        data=dict(name="cifar100", **config.TFDS),
        side=32,
        augment=dict(policy="cifar", mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761)),
        optimizer=config.SGD,
        byol=config.PUBLISHED_BYOL,
        train=dict(epochs=500),
        loss=dict(w_rince=1.0),  # the authors' for this set alone
        smoke=dict(limit=2000),  # 20 a class
    )
