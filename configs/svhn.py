"""The paper's SVHN run: ResNet-50 with the stem for large images, 500 epochs, batch 512.

Paper: arXiv 2502.20141, section 6 and Table 2; settings: the authors' code, `gca_jax/config`.

    python main.py --mode=prepare --config=configs/svhn.py  # once
    python main.py --config=configs/svhn.py:gca_uot --workdir=runs/svhn
    python main.py --config=configs/svhn.py:gca_uot,smoke --workdir=runs/smoke  # a minute

Expected time: about 30 minutes, an estimate (1.0 GFLOP an image).
Expected numbers, published (Table 2: linear evaluation in %, mean and deviation over 5 seeds):

    method      SVHN
    ince        90.60 ± 0.17
    gca_ince    90.40 ± 0.16
    rince       90.97 ± 0.19
    gca_rince   91.45 ± 0.41
    simclr      90.24 ± 0.24
    byol        89.50 ± 0.46
    iot         90.15 ± 0.21
    iot_uni     90.54 ± 0.20
    gca_uot     91.96 ± 0.15

These are of other losses (docs/authors_code.md), which are those of
`--mode=study --config=configs/studies/table2.py:svhn,published`.
"""

from gca_jax import config


def get_config(options: str = "") -> config.ConfigDict:
    return config.make(
        "images",
        options,
        data=dict(name="svhn", **config.TFDS),
        side=32,
        augment=dict(policy="strong", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        resnet=dict(**config.RESNET50, stem="imagenet"),  # the authors', whatever the size
        optimizer=config.ADAM,
        byol=config.PUBLISHED_BYOL,
        train=dict(epochs=500),
        loss=dict(q=0.6),  # the authors' for this set
    )
