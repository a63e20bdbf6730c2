r"""Two sets whose rows belong together: two small towers that align them.

Method: arXiv 2502.20141, which has no such experiment; recipe: our own, `PAIRS` in
`gca_jax/config`.

    python main.py --config=configs/pairs.py --workdir=runs/halves  # of digits
    python main.py --config=configs/pairs.py --workdir=runs/pairs \
        --config.data.a=A.npy --config.data.b=B.npy

Row i of A.npy [n, ...] belongs to row i of B.npy; .npz, .parquet and .csv do too, and
`--config.data.pairs=FILE` names the pairs where few are known. Some may be wrong, and the report
says which look so (docs/pairs.md). After a colon stand a method and the kind of towers:
`:gce,residual` is the default, linear maps plus a perceptron; `linear` and `mlp` are its parts.
Linear maps start from what held-out pairs are likeliest by (`model.start`), and validation pairs
choose the step whose weights are kept (`train.stop_by`); of twelve methods the best under `:auto`.

Expected time: a minute on two CPU cores for the halves of digits.
Expected numbers: none published; docs/pairs.md has measured ones.
"""

from gca_jax import config


def get_config(options: str = "") -> config.ConfigDict:
    return config.make("pairs", options)
