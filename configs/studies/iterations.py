r"""How many iterations T of the projection are enough, and what they cost (Figure A6).

    python main.py --mode=study --config=configs/studies/iterations.py --workdir=runs/iterations \
        --jobs=2
    python main.py --mode=study --config=configs/studies/iterations.py:cifar10 \
        --workdir=runs/iterations_cifar10  # for a GPU

At ε = 0.1, where the projection has work to do. Nothing is chosen: T is the axis.

Expected time: docs/results/paper.md has it, beside what came out.
"""

import math

from gca_jax import studies


def get_config(options: str = "") -> studies.Study:
    variant = studies.variant(options)
    methods = {"GCA-INCE": "gca_ince", "GCA-UOT": "gca_uot"}
    return studies.Study(
        variant.base,
        common={"loss.epsilon": 0.1, **variant.common},
        methods={
            label: studies.Method(f"{method}{variant.suffix}") for label, method in methods.items()
        },
        conditions={
            f"T = {value}": studies.Condition({"loss.iterations": value}, x=math.log10(value))
            for value in (1, 3, 5, 10, 50)
        },
        x_label="log10 of T",
        seeds=(0, 1, 2, 3, 4),
        measures={
            "linear probe, few labels": variant.accuracy_of_few,
            "linear probe": "accuracy.linear",
            "k-NN": "accuracy.knn",
            "cosine to INCE's gradient": "gradient_cosine_to_ince",
            "images a second": "training.json:images_per_second",
        },
        plain=("cosine to INCE's gradient", "images a second"),
    )
