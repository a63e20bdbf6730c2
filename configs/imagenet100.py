"""The paper's ImageNet-100 run: ResNet-50 at 224 pixels, 200 epochs, batch 128.

Paper: arXiv 2502.20141, section 6 and Table 2; settings: the authors' code, `gca_jax/config`.

    python main.py --mode=prepare --config=configs/imagenet100.py  # once
    python main.py --config=configs/imagenet100.py:gca_uot --workdir=runs/imagenet100
    python main.py --config=configs/imagenet100.py:gca_uot,smoke --workdir=runs/smoke  # a minute

The classes are those of Tian et al., "Contrastive multiview coding" (2020). Images stream from
disk, two random crops of each made on the host.

Expected time: about 17 hours, an estimate (49 GFLOP an image), if the host decodes 400 a second.
Expected numbers, published (Table 2: linear evaluation in %, mean and deviation over 5 seeds):

    method      ImageNet-100
    ince        73.01 ± 0.61
    gca_ince    73.04 ± 0.76
    rince       71.91 ± 0.43
    gca_rince   73.44 ± 0.55
    simclr      72.20 ± 0.78
    byol        69.75 ± 0.83
    iot         72.27 ± 0.53
    iot_uni     72.88 ± 0.71
    gca_uot     74.09 ± 0.40

These are of other losses (docs/authors_code.md), which are those of
`--mode=study --config=configs/studies/table2.py:imagenet100,published`.
"""

from gca_jax import config


def get_config(options: str = "") -> config.ConfigDict:
    return config.make(
        "images",
        options,
        data=dict(name="imagenet100", size=224, **config.TFDS),
        side=224,
        augment=dict(policy="strong", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        resnet=config.RESNET50,
        optimizer=config.ADAM,
        byol=config.PUBLISHED_BYOL,
        train=dict(batch_size=128),  # the authors'
        loss=dict(q=0.6, penalty_a=0.5, penalty_b=0.5),  # the authors' for this set
        smoke=dict(limit=2000, size=64),  # 20 a class
    )
