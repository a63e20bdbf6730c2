r"""What ε does to each method (Figure A5), and when the methods differ at all.

    python main.py --mode=study --config=configs/studies/epsilon.py --workdir=runs/epsilon --jobs=2
    python main.py --mode=study --config=configs/studies/epsilon.py:cifar10 \
        --workdir=runs/epsilon_cifar10  # for a GPU

Beside the accuracies: the cosine between the gradients of a method's loss and of INCE's on the same
embeddings, 1 where the two are one objective. Nothing is chosen: ε is the axis.

With `again` after the colon the smallest ε alone, with ten other seeds: what may have differed
there with the first five, the few-label accuracy of GCA-UOT, either differs again or was chance.

Expected time: docs/results/paper.md has it, beside what came out.
"""

import math

from gca_jax import studies

VALUES = (0.05, 0.1, 0.2, 0.5, 1.0)


def get_config(options: str = "") -> studies.Study:
    variant = studies.variant(options, flags=("again",))
    methods = {"INCE": "simclr", "GCA-INCE": "gca_ince", "GCA-UOT": "gca_uot"}
    return studies.Study(
        variant.base,
        common=variant.common,
        methods={
            label: studies.Method(f"{method}{variant.suffix}") for label, method in methods.items()
        },
        conditions={
            f"ε = {value:g}": studies.Condition({"loss.epsilon": value}, x=math.log10(value))
            for value in (VALUES[:1] if variant.again else VALUES)
        },
        x_label="log10 of ε",
        seeds=variant.seeds,
        measures={
            "linear probe, few labels": variant.accuracy_of_few,
            "linear probe": "accuracy.linear",
            "k-NN": "accuracy.knn",
            "cosine to INCE's gradient": "gradient_cosine_to_ince",
            "uniformity": "uniformity",
        },
        plain=("cosine to INCE's gradient", "uniformity"),
        reference="INCE",
    )
