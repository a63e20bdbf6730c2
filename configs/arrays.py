r"""Your own arrays: an .npz file with images and, if you have them, labels and domains.

Method: GCA, "Your contrastive learning problem is secretly a distribution alignment problem",
NeurIPS 2024, arXiv 2502.20141. The recipe is our own,
for small colour images.

    python main.py --config=configs/arrays.py:gca_uot --config.data.file=X.npz --workdir=runs/arrays

X.npz is made by `numpy.savez("X.npz", images=..., labels=...)`: images [n, h, w, c] or [n, h, w],
uint8 or floats in [0, 1]; labels [n] and domains [n] may be left out, and test_images, test_labels
and test_domains may be added (without them a fifth is held out). For grey images,
`--config.augment.policy=fashion_mnist`. Any method name may stand after the colon (`gca_uot` where
none does), and any key below may be changed, as in `--config.loss.epsilon=0.1`. All methods use the
"joint" layout, as the published runs did; in it `ince` is `simclr` and `gca_ince` is `iot`. To
align by domains, `--config.target.name=blocks --config.target.alpha=0.01`.

Expected time: about an hour for 50,000 images of 32 x 32 on one A100-class GPU; an estimate,
6.7 GFLOP an image at 20 TFLOP/s, not measured.
Expected numbers: none published.
Smoke run: every part once, on a few images, in about a minute on two cores:

    python main.py --config=configs/arrays.py:gca_uot,smoke --config.data.file=X.npz \
        --workdir=runs/smoke
"""

from ml_collections import ConfigDict

from gca_jax import config as common
from gca_jax.data.views import policies


def get_config(words: str = "") -> ConfigDict:
    method, smoke = common.read(words)
    config = common.start(method)
    config.data = common.group(
        name="arrays",
        file=str,  # the .npz file
        limit=int,  # at most so many images of each part; None: all
    )
    config.augment = common.group(**policies.settings("cifar", mean=(0.5,), std=(0.5,)))
    config.model = dict(
        stage_sizes=(2, 2, 2, 2),
        block="basic",
        width=64,
        stem="cifar",
        projector_hidden=2048,
        projector_dim=128,
    )
    config.optimizer = dict(
        name="adamw",
        learning_rate=1e-3,
        final_learning_rate=0.0,  # cosine
        warmup_epochs=10.0,
        weight_decay=1e-4,
    )
    config.train = dict(batch_size=256, epochs=200, checkpoint_every_epochs=10, log_every_steps=20)
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
