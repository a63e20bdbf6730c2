r"""Table 2: nine methods × standard and extreme augmentation, on clean and on corrupted images.

    python main.py --mode=study --config=configs/studies/table2.py --workdir=runs/table2 --jobs=2
    python main.py --mode=study --config=configs/studies/table2.py:fashion \
        --workdir=runs/table2_fashion --jobs=2  # six methods, standard augmentation, clean images
    python main.py --mode=study --config=configs/studies/table2.py:cifar10,published \
        --workdir=runs/table2_published  # for GPUs; as cifar100, svhn, imagenet100

docs/authors_code.md has every setting as published, in the configs and here, and why. In short:

- On digits and Fashion-MNIST the settings of every method are chosen among two on validation
  images; the other sets have the authors' settings. Without `published` the encoder is frozen, and
  INCE, RINCE, their GCA versions and GCA-UOT compare one view with the other (the paper's
  equations), so that nine methods are nine losses.
- `published` is the authors' protocol: the joint layout with the floor and the self-pairs that
  their code gives each method, and on CIFAR the fine-tuned encoder at its best epoch on test
  images. The published numbers stand in that report alone. Corrupted images are not in it.

With `standard` after the colon there is no extreme augmentation. A Δ row of the paper is a
difference here: GCA-INCE minus INCE, GCA-RINCE minus RINCE, the rest minus SimCLR (on
Fashion-MNIST, minus INCE). Corrupted images are made by the functions of CIFAR-10-C.

Expected time: docs/results/paper.md has it for two cores, beside what came out.
`cifar10,published` has 90 runs × 2.5 h = 225 A100-hours at 4.9 GB of GPU memory, an estimate of the
pretraining alone; fine-tuning, of the trained and of the untrained encoder, sees two fifths of its
images again. docs/distributed.md has a job array for it.
"""

from gca_jax import studies

CROSS = {"loss.layout": "cross"}  # SimCLR and IOT are INCE and GCA-INCE in the joint layout
FLOOR, MAX_COST = {"loss.similarity_floor": 1e-7}, {"loss.self_pairs": "max_cost"}
EPSILON = {"loss.epsilon": (0.1, 0.2)}
METHODS = {
    "INCE": studies.Method("ince", CROSS, EPSILON),
    "GCA-INCE": studies.Method("gca_ince", CROSS, EPSILON, "INCE"),
    "RINCE": studies.Method("rince", CROSS, {"loss.q": (0.1, 0.5)}),
    "GCA-RINCE": studies.Method("gca_rince", CROSS, {"loss.q": (0.1, 0.5)}, "RINCE"),
    "SimCLR": studies.Method("simclr", choose=EPSILON),
    "BYOL": studies.Method("byol", choose={"train.target_decay": (0.97, 0.9)}),
    "IOT": studies.Method("iot", choose=EPSILON),
    "IOT-uni": studies.Method("iot_uni", choose=EPSILON),
    "GCA-UOT": studies.Method("gca_uot", CROSS, EPSILON),
}
# What the authors' code does in the joint layout; its file for SVHN and ImageNet-100 has SimCLR and
# RINCE otherwise. All else is the config's: no floor, self-pairs excluded.
AUTHORS = {
    **dict.fromkeys(("INCE", "GCA-INCE", "RINCE", "GCA-RINCE", "GCA-UOT"), FLOOR | MAX_COST),
    **dict.fromkeys(("IOT", "IOT-uni"), MAX_COST),
    "SimCLR": FLOOR,
}
LARGE = {**AUTHORS, "SimCLR": {}, "RINCE": {}}
FINETUNED = {"evaluation.finetune_epochs": 200, "evaluation.sgd_learning_rate": 0.12}
ON_FASHION = ("INCE", "GCA-INCE", "RINCE", "GCA-RINCE", "BYOL", "GCA-UOT")
# Mean and deviation over five seeds of linear evaluation, %; in the order of METHODS.
PUBLISHED = {
    "cifar10": {
        "standard": (
            *((92.01, 0.40), (92.36, 0.24), (91.05, 0.50), (92.09, 0.22), (92.16, 0.16)),
            *((90.56, 0.59), (90.99, 0.54), (90.89, 0.57), (92.61, 0.32)),
        ),
        "extreme": (
            *((82.03, 0.32), (82.18, 0.69), (82.60, 0.63), (82.76, 0.49), (81.87, 0.53)),
            *((81.55, 0.50), (80.59, 0.64), (80.79, 0.24), (83.18, 0.44)),
        ),
    },
    "cifar100": {
        "standard": (
            *((70.07, 0.42), (70.11, 0.45), (69.06, 0.64), (69.72, 0.27), (69.95, 0.14)),
            *((69.75, 0.37), (67.19, 0.21), (67.03, 0.40), (71.45, 0.37)),
        ),
        "extreme": (
            *((54.70, 0.43), (54.91, 0.56), (55.43, 0.48), (55.90, 0.41), (54.54, 0.79)),
            *((54.18, 0.46), (52.40, 0.48), (53.04, 0.52), (56.30, 0.51)),
        ),
    },
    "svhn": {
        "standard": (
            *((90.60, 0.17), (90.40, 0.16), (90.97, 0.19), (91.45, 0.41), (90.24, 0.24)),
            *((89.50, 0.46), (90.15, 0.21), (90.54, 0.20), (91.96, 0.15)),
        ),
    },
    "imagenet100": {
        "standard": (
            *((73.01, 0.61), (73.04, 0.76), (71.91, 0.43), (73.44, 0.55), (72.20, 0.78)),
            *((69.75, 0.83), (72.27, 0.53), (72.88, 0.71), (74.09, 0.40)),
        ),
    },
}


def get_config(options: str = "") -> studies.Study:
    flags = ("standard", "published")
    variant = studies.variant(options, sets=("fashion", *PUBLISHED), flags=flags)
    if "published" in variant.flags:
        if variant.data not in PUBLISHED:
            raise ValueError(f"'published' goes with one of {', '.join(PUBLISHED)}")
        return as_published(variant)
    corrupted = variant.data in ("digits", "cifar10")
    of_few = {"linear probe, few labels": variant.accuracy_of_few}
    of_all = {"linear probe": "accuracy.linear"}
    return studies.Study(
        variant.base,
        common={**variant.common, "evaluation.corruptions": corrupted},
        methods={
            label: studies.Method(
                m.words + variant.suffix, m.set, m.choose if variant.small else {}, m.against
            )
            for label, m in METHODS.items()
            if variant.data != "fashion" or label in ON_FASHION
        },
        conditions=conditions(variant),
        seeds=variant.seeds,
        choose_by=variant.accuracy_of_few if variant.small else None,
        measures={
            **(of_few | of_all if variant.small else of_all | of_few),
            **({"linear probe, corrupted images": "corruptions.mean.all"} if corrupted else {}),
            "k-NN": "accuracy.knn",
        },
        reference="INCE" if variant.data == "fashion" else "SimCLR",
        items=None if variant.small else "linear_right",
    )


def conditions(variant: studies.Variant) -> dict[str, dict[str, object]]:
    """Augmentations: standard, and the extreme one where the paper has it."""
    extreme: dict[str, object] = {"augment.policy": "large_erase"}
    if variant.small:  # a quarter to a half of every view is hidden
        extreme = {"augment.erase_probability": 1.0, "augment.erase_area": (0.25, 0.5)}
    alone = "standard" in variant.flags or variant.data in ("svhn", "imagenet100", "fashion")
    return {"standard": {}, **({} if alone else {"extreme": extreme})}


def as_published(variant: studies.Variant) -> studies.Study:
    """The authors' protocol, beside their numbers."""
    cifar = variant.data.startswith("cifar")
    finetuned = FINETUNED | ({"evaluation.finetune_epochs": 2} if variant.smoke else {})
    of_all = {"linear probe": "accuracy.linear"}  # on SVHN and ImageNet-100 theirs is frozen too
    of_finetuned = {
        "fine-tuned, best epoch on test images": "accuracy.finetune_best_on_test",
        "fine-tuned": "accuracy.finetune",
    }
    own = AUTHORS if cifar else LARGE
    columns = conditions(variant)
    return studies.Study(
        variant.base,
        common=finetuned if cifar else {},
        methods={
            label: studies.Method(m.words + variant.suffix, own.get(label, {}), against=m.against)
            for label, m in METHODS.items()
        },
        conditions=columns,
        seeds=variant.seeds,
        measures={**of_finetuned, **of_all} if cifar else {**of_all, "k-NN": "accuracy.knn"},
        reference="SimCLR",
        published={
            condition: {
                method: (mean, sd, 5) for method, (mean, sd) in zip(METHODS, numbers, strict=True)
            }
            for condition, numbers in PUBLISHED[variant.data].items()
            if condition in columns
        },
    )
