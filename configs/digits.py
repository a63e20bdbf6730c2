"""The demo: scikit-learn's 1,797 scanned digits, 8 x 8 pixels, on any machine.

Method: GCA, "Your contrastive learning problem is secretly a distribution alignment problem",
NeurIPS 2024, arXiv 2502.20141. The paper has no experiment on digits; the recipe is our own.

    python main.py --config=configs/digits.py:gca_uot --workdir=runs/digits

Any method name may stand after the colon (`gca_uot` where none does), and any key below may be
changed, as in `--config.loss.epsilon=0.1`. All methods use the "joint" layout, as the published
runs did; in it `ince` is `simclr` and `gca_ince` is `iot`.

Expected time: under two minutes on two CPU cores, evaluation and report included.
Expected number: raw pixels reach about 89 % with ten labels a class; a trained encoder must beat
them. The README has the measured table.
"""

from ml_collections import ConfigDict, config_dict

from gca_jax.data import policies

KERNEL = dict(epsilon=0.2, layout="joint", similarity_floor=None, self_pairs="exclude")
SINKHORN = dict(iterations=10, until=None, gradient="unrolled")
RINCE = dict(q=0.98, lam=0.01)

LOSS = {
    "ince": KERNEL,
    "gca_ince": KERNEL | SINKHORN,
    "rince": KERNEL | RINCE,
    "gca_rince": KERNEL | RINCE | dict(iterations=10),
    "gca_uot": KERNEL
    | SINKHORN
    | RINCE
    | dict(
        penalty_a=0.2,
        penalty_b=0.2,
        w_kl=1.0,
        w_rince=0.02,
        mass="rows",
        penalise_marginals=False,
    ),
    "simclr": KERNEL,
    "byol": {},
    "iot": KERNEL | SINKHORN,
    "iot_uni": KERNEL | SINKHORN | dict(lam_p=0.2),
}


def get_config(method: str = "gca_uot") -> ConfigDict:
    if method not in LOSS:
        raise ValueError(f"unknown method {method!r}; one of: {', '.join(LOSS)}")
    config = ConfigDict(dict(method=method, seed=0))
    config.data = dict(name="digits")
    augment = policies.settings("digits", mean=(0.3054,), std=(0.3760,))
    config.augment = {
        key: config_dict.placeholder(value) if isinstance(value, type) else value
        for key, value in augment.items()
    }
    config.model = dict(
        stage_sizes=(1, 1),
        block="basic",
        width=32,
        stem="cifar",
        projector_hidden=128,
        projector_dim=64,
    )
    config.optimizer = dict(
        name="adamw",
        learning_rate=2e-3,
        final_learning_rate=0.0,  # cosine
        warmup_epochs=0.0,
        weight_decay=1e-4,
    )
    config.train = dict(batch_size=256, epochs=60, checkpoint_every_epochs=20, log_every_steps=1)
    if method == "byol":
        config.model.predictor_hidden = 128
        config.train.target_decay = 0.97
    config.loss = {
        key: config_dict.placeholder(float) if value is None else value
        for key, value in LOSS[method].items()
    }
    config.evaluation = dict(
        labels_per_class=10,
        draws=10,
        validation_fraction=0.2,
        strengths=(0.01, 0.1, 1.0, 10.0, 100.0),  # candidates of the linear probes
        neighbours=(1, 3, 5, 10, 20, 50),  # candidates of k
    )
    return config
