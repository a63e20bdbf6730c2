r"""What options of training change: chunks, groups of batch norm, bfloat16, LARS.

    python main.py --mode=study --config=configs/studies/training_options.py \
        --workdir=runs/training_options --jobs=2
    python main.py --mode=study --config=configs/studies/training_options.py:cifar10 \
        --workdir=runs/training_options_cifar10  # for a GPU

GCA-INCE with the recipe of the data set, one option changed in each row (docs/training.md). Only
LARS's learning rate is chosen, on validation images, as that of AdamW or SGD does not suit it.
Chunks give the encoder batch statistics of their own, so that on a network with batch norm they
are no mere rounding.

Expected time: 28 runs of a minute on one core. What came out: docs/training.md.
"""

from gca_jax import studies

PARTS = 4  # chunks and groups of a batch


def get_config(options: str = "") -> studies.Study:
    variant = studies.variant(options)
    batch = 96 if ",smoke" in variant.suffix else 256 if variant.small else 512
    changes: dict[str, dict[str, int | str]] = {
        "plain": {},
        "chunks": {"train.encoder_chunk": batch // PARTS},
        "groups": {"train.batch_norm_groups": PARTS},
        "bfloat16": {"model.dtype": "bfloat16"},
    }
    methods = {
        label: studies.Method(f"gca_ince{variant.suffix}", set=change)
        for label, change in changes.items()
    }
    lars = {
        "optimizer.name": "lars",
        "optimizer.weight_decay": 1e-6,
        "optimizer.exclude_bias_and_norm": True,
    }
    rates = {"optimizer.learning_rate": (1.0, 3.0, 10.0)}
    return studies.Study(
        variant.base,
        common=variant.common,
        methods={**methods, "LARS": studies.Method(f"gca_ince{variant.suffix}", lars, rates)},
        seeds=(0, 1, 2, 3, 4),
        choose_by="accuracy.linear",
        measures={
            "linear probe": "accuracy.linear",
            "linear probe, few labels": variant.accuracy_of_few,
            "k-NN": "accuracy.knn",
            "images a second": "training.json:images_per_second",
        },
        plain=("images a second",),
        reference="plain",
    )
