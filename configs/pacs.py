r"""PACS: pictures of seven classes in four domains, with the domains in the target plan.

Method: GCA, "Your contrastive learning problem is secretly a distribution alignment problem",
NeurIPS 2024, arXiv 2502.20141, section 6.2.

    python main.py --mode=prepare --config=configs/pacs.py --config.data.root=DIR
    python main.py --config=configs/pacs.py:gca_ince --config.data.root=DIR --workdir=runs/pacs

The first command is needed once. Any method name may stand after the colon (`gca_ince` where none
does), and any key below may be changed, as in `--config.loss.epsilon=0.1`. All methods use the
"joint" layout, as the published runs did; in it `ince` is `simclr` and `gca_ince` is `iot`. In the
target plan the two views of an image weigh 1, images of one domain `alpha` and of two domains
`beta`. The paper has ResNet-18 and `gca_ince`; it gives no values, batch size or epochs, so those
are our own. `--config.data.held_out=sketch` keeps a domain for the test.

Expected time: about 40 minutes on one A100-class GPU; an estimate, 22 GFLOP an image at 20 TFLOP/s,
not measured.
Expected numbers, published (Fig. 1B, gca_ince): a linear readout of the domain goes from 72.11 to
95.16 % as alpha - beta grows, that of the class is not diminished; the report has both. Other
methods: none published. None measured here.
Smoke run: every part once, on a few images, in about a minute on two cores:

    python main.py --config=configs/pacs.py:gca_ince,smoke --config.data.root=DIR \
        --workdir=runs/smoke
"""

from ml_collections import ConfigDict

from gca_jax import config as common
from gca_jax.data.views import policies


def get_config(words: str = "") -> ConfigDict:
    method, smoke = common.read(words, default="gca_ince")
    config = common.start(method)
    config.data = common.group(
        name="pacs",
        root=str,  # the folder of pictures
        labelled_root=str,  # a labelled folder for the probes; root is then pretrained on
        size=224,  # pixels of a side that the network sees
        held_out=str,  # the domain that is kept for the test; None: none is
        domains=bool,  # whether the first level of folders is domains; None: seen from the depth
        labelled=bool,  # whether folders are classes; None: seen from the depth
        data_dir=str,  # where the prepared copy goes; None: TFDS's folder
        limit=int,  # at most so many images of each split; None: all
        skip_unreadable=False,  # count broken pictures instead of refusing them
    )
    config.augment = common.group(
        **policies.settings("strong", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    )
    config.target.update(name="blocks", alpha=0.01, beta=0.0)
    config.model = dict(
        stage_sizes=(2, 2, 2, 2),
        block="basic",
        width=64,
        stem="imagenet",
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
    config.train = dict(batch_size=128, epochs=200, checkpoint_every_epochs=10, log_every_steps=20)
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
    return common.finish(config, smoke, size=64)
