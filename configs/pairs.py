r"""Two sets whose rows belong together: two small towers that align them.

Method: arXiv 2502.20141, which has no such experiment; recipe: our own, `PAIRS` in
`gca_jax/config`.

    python main.py --config=configs/pairs.py:gca_ince --workdir=runs/halves  # of digits
    python main.py --config=configs/pairs.py:gca_ince --workdir=runs/pairs \
        --config.data.a=A.npy --config.data.b=B.npy --config.target.name=self_weighted

Row i of A.npy [n, ...] belongs to row i of B.npy; .npz and .parquet do too. Where some pairs may
be wrong, `self_weighted` finds out which (docs/pairs.md). `:gca_ince,linear` makes both towers
linear, `residual` linear plus a perceptron; `--config.model.learn_epsilon=True` learns the
temperature. Validation pairs choose the step whose weights are kept (`train.stop_by`).

Expected time: half a minute on two CPU cores for the halves of digits.
Expected numbers: none published; docs/pairs.md has measured ones.
"""

from gca_jax import config


def get_config(options: str = "") -> config.ConfigDict:
    return config.make("pairs", options)
