"""What `precision="bfloat16"` does to a loss and its gradient.

python -m benchmarks.rounding          # a few minutes on two cores
python -m benchmarks.rounding --quick  # two values of ε

GCA-INCE, joint layout, n = 512 rows, d = 128, T = 10, against float64: relative errors of the value
and (in norm) of the gradient, of float32 and of float32 with the keyword; on random embeddings and
on ten clusters.
"""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import loss, measure

KINDS = {"float32": {}, "bfloat16": {"precision": "bfloat16"}}


def value_and_gradient(z, epsilon, **options):
    """Give both as NumPy arrays, in the dtype of the embeddings."""
    z = [*map(jnp.asarray, z)]
    value, gradient = measure.compiled(loss.ours("gca_ince", epsilon, **options), *z)(*z)
    return float(value), np.concatenate(gradient)


def work(quick):
    lines = []
    for name, classes in (("random", 0), ("ten clusters", 10)):
        views = [np.asarray(z) for z in measure.views(512, classes=classes)]
        for epsilon in (0.1, 0.5) if quick else (0.05, 0.1, 0.2, 0.5, 1.0):
            with jax.enable_x64(True):
                exact = [z.astype(np.float64) for z in views]
                value, gradient = value_and_gradient(exact, epsilon)
            line = {"embeddings": name, "epsilon": epsilon, "value": value}
            for kind, options in KINDS.items():
                ours, its = value_and_gradient(views, epsilon, **options)
                error = np.linalg.norm(its - gradient) / np.linalg.norm(gradient)
                line[kind] = {"value": abs(ours - value) / abs(value), "gradient": float(error)}
            lines.append(line)
            print(line, flush=True)
    return {"lines": lines}


if __name__ == "__main__":
    measure.command("rounding", __doc__, work)
