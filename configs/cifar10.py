"""The paper's CIFAR-10 run: ResNet-18, 500 epochs, batch 512.

Method: GCA, "Your contrastive learning problem is secretly a distribution alignment problem",
NeurIPS 2024, arXiv 2502.20141, section 6 and Table 2; settings from the authors' published code.

    python main.py --mode=prepare --config=configs/cifar10.py
    python main.py --config=configs/cifar10.py:gca_uot --workdir=runs/cifar10

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

    method      CIFAR-10          CIFAR-10 (Ex)     CIFAR-10-C        CIFAR-10-C (Ex)
    ince        92.01 ± 0.40      82.03 ± 0.32      87.20 ± 0.37      74.84 ± 0.21
    gca_ince    92.36 ± 0.24      82.18 ± 0.69      87.34 ± 0.34      76.00 ± 0.17
    rince       91.05 ± 0.50      82.60 ± 0.63      88.62 ± 1.33      77.05 ± 0.82
    gca_rince   92.09 ± 0.22      82.76 ± 0.49      88.76 ± 0.72      77.23 ± 0.76
    simclr      92.16 ± 0.16      81.87 ± 0.53      86.98 ± 1.59      73.79 ± 0.32
    byol        90.56 ± 0.59      81.55 ± 0.50      87.88 ± 1.02      69.40 ± 1.11
    iot         90.99 ± 0.54      80.59 ± 0.64      67.36 ± 1.97      58.75 ± 1.96
    iot_uni     90.89 ± 0.57      80.79 ± 0.24      69.58 ± 1.25      59.05 ± 1.86
    gca_uot     92.61 ± 0.32      83.18 ± 0.44      89.61 ± 0.30      77.60 ± 0.54

The authors' evaluation of CIFAR fine-tunes the encoder; this project's keeps it frozen. CIFAR-10-C:
`python main.py --mode=corruptions --workdir=runs/cifar10`, once `cifar10_corrupted` is prepared.
Smoke run: every part once, on a few images, in about a minute on two cores:

    python main.py --config=configs/cifar10.py:gca_uot,smoke --workdir=runs/smoke
"""

from ml_collections import ConfigDict

from gca_jax import config as common
from gca_jax.data.views import policies


def get_config(words: str = "") -> ConfigDict:
    method, smoke = common.read(words)
    config = common.start(method)
    config.data = common.group(
        name="cifar10",
        data_dir=str,  # TFDS's folder; None: $TFDS_DATA_DIR or ~/tensorflow_datasets
        limit=int,  # at most so many images of each split; None: all
        skip_unreadable=False,  # count broken records instead of refusing them
    )
    config.augment = common.group(
        **policies.settings("cifar", mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))
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
        w_rince=0.02,
    )
    return common.finish(config, smoke)
