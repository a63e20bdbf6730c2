"""The paper's CIFAR-100 run: ResNet-18, 500 epochs, batch 512.

Method: GCA, "Your contrastive learning problem is secretly a distribution alignment problem",
NeurIPS 2024, arXiv 2502.20141, section 6 and Table 2; settings from the authors' published code.

    python main.py --mode=prepare --config=configs/cifar100.py
    python main.py --config=configs/cifar100.py:gca_uot --workdir=runs/cifar100

The first command is needed once. Any method name may stand after the colon (`gca_uot` where none
does), and any key below may be changed, as in `--config.loss.epsilon=0.1`. All methods use the
"joint" layout, as the published runs did; in it `ince` is `simclr` and `gca_ince` is `iot`. The
extreme augmentations (Ex) are `--config.augment.policy=` large_erase, brightness or strong_crop.
The authors' code also clamps similarities and keeps self-pairs at the largest cost:
`--config.loss.similarity_floor=1e-7 --config.loss.self_pairs=max_cost`.

Expected time: about 2.5 hours on one A100-class GPU; an estimate, 6.7 GFLOP an image at 20 TFLOP/s,
not measured.
Expected numbers, published (Table 2: accuracy of linear evaluation in %, mean and deviation over 5
seeds), none measured here:

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

The authors' evaluation of CIFAR fine-tunes the encoder; this project's keeps it frozen.
Smoke run: every part once, on a few images, in about a minute on two cores:

    python main.py --config=configs/cifar100.py:gca_uot,smoke --workdir=runs/smoke
"""

from ml_collections import ConfigDict

from gca_jax import config as common
from gca_jax.data.views import policies


def get_config(words: str = "") -> ConfigDict:
    method, smoke = common.read(words)
    config = common.start(method)
    config.data = common.group(
        name="cifar100",
        data_dir=str,  # TFDS's folder; None: $TFDS_DATA_DIR or ~/tensorflow_datasets
        limit=int,  # at most so many images of each split; None: all
        skip_unreadable=False,  # count broken records instead of refusing them
    )
    config.augment = common.group(
        **policies.settings("cifar", mean=(0.5071, 0.4867, 0.4408), std=(0.2675, 0.2565, 0.2761))
    )
    config.model = dict(
        stage_sizes=(2, 2, 2, 2),
        block="basic",
        width=64,
        stem="cifar",
        projector_hidden=2048,
        projector_dim=128,
    )
    config.optimizer = dict(
        name="sgd",  # with Nesterov momentum 0.9
        learning_rate=0.12,
        final_learning_rate=2e-4,  # cosine
        warmup_epochs=0.0,
        weight_decay=1e-6,
    )
    config.train = dict(batch_size=512, epochs=500, checkpoint_every_epochs=10, log_every_steps=20)
    config.loss = common.loss(
        method,
        layout="joint",
        epsilon=0.5,
        iterations=10,
        q=0.98,
        lam=0.01,
        penalty_a=0.2,
        penalty_b=0.2,
        w_kl=1.0,
        w_rince=1.0,
    )
    return common.finish(config, smoke, limit=2000)  # in a smoke run, 20 a class
