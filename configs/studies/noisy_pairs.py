r"""Which method finds partners best where many of the training pairs are wrong?

    python -m scripts.two_sets --fashion=DIR --out=data  # its docstring says where from
    python main.py --mode=study --config=configs/studies/noisy_pairs.py --workdir=runs/noisy \
        --jobs=2
    python main.py --mode=study --config=configs/studies/noisy_pairs.py:emoji --workdir=runs/emoji \
        --jobs=2
    python main.py --mode=study --config=configs/studies/noisy_pairs.py:digits,smoke \
        --workdir=runs/smoke  # without files, some minutes

Left and right halves of 20,000 of Fashion-MNIST's images (emoji: signs as two makers draw them); a
share of the training pairs is shuffled, and of the 1,800 validation pairs too, as they would be for
a user. Each method has four candidates of its settings, chosen by recall@1 on those; the test pairs
are clean. An option after the colon breaks it in another way: `within` shuffles pairs inside their
class, `small` and `large` make batches of 128 and 2,048 pairs (and as many pairs are seen), `many`
gives three of `b` to each of `a`; `emoji,early` learns from the plan after 2 or 8 epochs, not 40.
`most` leaves the shares of 60 and 80 % alone.

Expected time: docs/results/noisy_pairs.md has it, beside what came out.
"""

from typing import Any

from gca_jax import studies

SETS: dict[str, dict[str, Any]] = {
    "fashion": dict(
        a="data/fashion_a.npy", b="data/fashion_b.npy", limit=20_000, test_fraction=0.1
    ),
    "many": dict(
        a="data/many_a.npy",
        b="data/many_b.npy",
        test_a="data/fashion_test_a.npy",
        test_b="data/fashion_test_b.npy",
    ),
    "emoji": dict(a="data/emoji_a.npy", b="data/emoji_b.npy", test_fraction=0.25),
    "digits": dict(test_fraction=0.25),
}
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8)
EPSILONS = (0.1, 0.2)
WEIGHTED = {"target.name": "self_weighted", "target.warmup_steps": 200}
BREAKS = ("within", "small", "large", "many", "early")
BATCHES = {"small": (128, 3_200), "large": (2_048, 200)}  # pairs and steps


def get_config(options: str = "") -> studies.Study:
    named = studies.read_options(options, (*SETS, *BREAKS, "most", "smoke"))
    few = bool(named & set(BREAKS) - {"early"})
    name = next((word for word in SETS if word in named), "fashion")
    data = {f"data.{key}": value for key, value in SETS[name].items()}
    train = {"train.batch_size": 512, "train.steps": 800, "train.log_every_steps": 50}
    if name in ("emoji", "digits"):
        train |= {"train.batch_size": 256, "train.steps": 600}
    return studies.Study(
        "configs/pairs.py",
        common={
            **data,
            **train,
            "data.validation_fraction": 0.1,
            "model.hidden_a": (256,),
            "model.hidden_b": (256,),
            "train.checkpoint_every_epochs": 1_000,
            "train.stop_by": "steps",  # what methods leave at the end is compared
            "evaluation.rounds": 2,
        },
        methods=_methods(",mlp,smoke" if "smoke" in named else ",mlp", named),
        conditions=_conditions(name, named),
        x_label="share of the training pairs that are wrong, %",
        seeds=(0, 1, 2) if few else (0, 1, 2, 3, 4),
        choose_by="retrieval.a_to_b.recall_1",
        measures={
            "recall@1, a to b": "retrieval.a_to_b.recall_1",
            "recall@1, b to a": "retrieval.b_to_a.recall_1",
            "recall@10, a to b": "retrieval.a_to_b.recall_10",
            "recall@1 by the plan": "retrieval_plan.a_to_b.recall_1",
            "AUC of the suspects": "weights.auc",
            "effective share of the pairs": "weights.effective_share",
            "hubs: skewness": "retrieval.hubness.a_to_b.skewness",
        },
        plain=("AUC of the suspects", "hubs: skewness"),
        reference="clip",
    )


def _methods(more: str, named: frozenset[str]) -> dict[str, studies.Method]:
    """Four candidates each: two values of the method's own setting, or more of ε."""
    epsilon, shares = {"loss.epsilon": EPSILONS}, {"target.share": (0.2, 0.4)}
    alone = {"loss.epsilon": (0.05, 0.1, 0.2, 0.4)}
    weighted = {**WEIGHTED, **({"target.warmup_steps": 50} if "large" in named else {})}
    sharpness: dict[str, tuple[Any, ...]] = {**epsilon, "target.sharpness": (0.5, 1.0)}
    if "early" in named:
        sharpness = {**epsilon, "target.warmup_steps": (10, 40)}
    methods = {
        "clip": studies.Method(f"clip{more}", choose=alone),
        "rince": studies.Method(f"rince{more}", choose={**epsilon, "loss.q": (0.1, 0.2)}),
        "gca_ince": studies.Method(f"gca_ince{more}", choose=alone),
        "gca_uot": studies.Method(
            f"gca_uot{more}", choose={**epsilon, "loss.w_rince": (0.02, 0.2)}
        ),
        "clip, smoothed": studies.Method(
            f"clip{more}", {"target.name": "smoothed"}, {**epsilon, **shares}
        ),
        "gca_ince, bootstrapped": studies.Method(
            f"gca_ince{more}",
            {"target.name": "bootstrapped", "target.warmup_steps": 200},
            {**epsilon, **shares},
        ),
        "clip, self-weighted": studies.Method(f"clip{more}", weighted, sharpness),
        "gca_ince, self-weighted": studies.Method(f"gca_ince{more}", weighted, sharpness),
    }
    kept = ("clip", "gca_ince", "clip, self-weighted", "gca_ince, self-weighted")
    return {label: methods[label] for label in (kept if named & set(BREAKS) else methods)}


def _conditions(name: str, named: frozenset[str]) -> dict[str, studies.Condition]:
    wrong = {"data.shuffled": 0.4}
    if "within" in named:
        classes = {"data.labels": f"data/{name}_labels.npy", "data.shuffled_within": True}
        return {"40 %, inside classes": studies.Condition({**wrong, **classes})}
    for word, (size, steps) in BATCHES.items():
        if word in named:
            batches = {"train.batch_size": size, "train.steps": steps}
            return {f"40 %, batch of {size:,}": studies.Condition({**wrong, **batches})}
    if "many" in named:
        return {"40 %, three for each": studies.Condition(wrong)}
    shares = (0.0, 0.4) if name in ("digits", "many") else SHARES
    if "most" in named:
        shares = SHARES[-2:]
    return {
        f"{share:.0%} wrong": studies.Condition({"data.shuffled": share}, x=100 * share)
        for share in shares
    }
