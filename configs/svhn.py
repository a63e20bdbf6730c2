"""The paper's SVHN run: ResNet-50 with the stem for large images, 500 epochs, batch 512.

Method: GCA, "Your contrastive learning problem is secretly a distribution alignment problem",
NeurIPS 2024, arXiv 2502.20141, section 6 and Table 2; settings from the authors' published code.

    python main.py --mode=prepare --config=configs/svhn.py
    python main.py --config=configs/svhn.py:gca_uot --workdir=runs/svhn

The first command is needed once. Any method name may stand after the colon (`gca_uot` where none
does), and any key below may be changed, as in `--config.loss.epsilon=0.1`. All methods use the
"joint" layout, as the published runs did; in it `ince` is `simclr` and `gca_ince` is `iot`.

Expected time: about 30 minutes on one A100-class GPU; an estimate, 1.0 GFLOP an image at 20
TFLOP/s, not measured.
Expected numbers, published (Table 2: accuracy of linear evaluation in %, mean and deviation over 5
seeds), none measured here:

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

Smoke run: every part once, on a few images, in about a minute on two cores:

    python main.py --config=configs/svhn.py:gca_uot,smoke --workdir=runs/smoke
"""

from ml_collections import ConfigDict

from gca_jax import config as common
from gca_jax.data.views import policies


def get_config(words: str = "") -> ConfigDict:
    method, smoke = common.read(words)
    config = common.start(method)
    config.data = common.group(
        name="svhn",
        data_dir=str,  # TFDS's folder; None: $TFDS_DATA_DIR or ~/tensorflow_datasets
        limit=int,  # at most so many images of each split; None: all
        skip_unreadable=False,  # count broken records instead of refusing them
    )
    config.augment = common.group(
        **policies.settings("strong", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    )
    config.model = dict(
        stage_sizes=(3, 4, 6, 3),
        block="bottleneck",
        width=64,
        stem="imagenet",
        projector_hidden=2048,
        projector_dim=128,
    )
    config.optimizer = dict(
        name="adam",
        learning_rate=3e-4,
        final_learning_rate=3e-4,  # constant
        warmup_epochs=0.0,
        weight_decay=0.0,
    )
    config.train = dict(batch_size=512, epochs=500, checkpoint_every_epochs=10, log_every_steps=20)
    config.loss = common.loss(
        method,
        layout="joint",
        epsilon=0.5,
        iterations=10,
        q=0.6,
        lam=0.01,
        penalty_a=0.2,
        penalty_b=0.2,
        w_kl=1.0,
        w_rince=0.02,
    )
    return common.finish(config, smoke)
