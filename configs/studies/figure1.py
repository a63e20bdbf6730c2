r"""Do domains in the target plan keep the domain readable, and at what price (the paper's Fig. 1B)?

    python -m scripts.icons --themes=/usr/share/icons --out=data/icons  # its docstring: packages
    python main.py --mode=study --config=configs/studies/figure1.py --workdir=runs/figure1
    python main.py --mode=study --config=configs/studies/figure1.py:pacs \
        --config.common.data.root=DIR --workdir=runs/figure1_pacs  # the paper's, for a GPU

GCA-INCE on desktop icons of six themes: views of one image weigh 1 in the target, images of one
domain alpha, of two domains beta = 0; alpha - beta goes from 0 (the identity) upwards. A linear
readout of the frozen encoder names the theme, the class, and the class in a theme whose labels it
has not seen. Nothing is chosen, so there are no validation runs. Icons are shrunk to 16 pixels and
the runs are short, for two cores; PACS has its own config's length.

Expected time: docs/results/figure1.md has it, beside what came out; PACS by 25 runs of an estimated
40 minutes.
Expected numbers, published (PACS, ResNet-18): domain 72.11 to 95.16 % as alpha - beta grows, class
not diminished.
"""

from gca_jax import studies

ALPHAS = (0.03, 0.3, 1.0)  # with beta = 0
SHORT = {
    "data.size": 16,
    "data.limit": 2_000,
    "model.stage_sizes": (1, 1, 1),
    "train.batch_size": 128,
    "train.epochs": 32,
    "train.checkpoint_every_epochs": 1_000,
    "evaluation.draws": 1,
    "evaluation.strengths": (1.0,),
    "evaluation.neighbours": (5,),
}


def get_config(options: str = "") -> studies.Study:
    full = studies.read_options(options, ("pacs",))
    targets: dict[str, dict[str, object]] = {
        "identity": {"target.name": "identity", "target.alpha": None, "target.beta": None}
    }
    for alpha in ALPHAS:
        targets[f"alpha = {alpha:g}"] = {
            "target.name": "blocks",
            "target.alpha": alpha,
            "target.beta": 0.0,
        }
    return studies.Study(
        f"configs/{'pacs' if full else 'icons'}.py",
        common={"data.root": str} if full else SHORT,  # str: a flag names it
        methods={
            label: studies.Method("gca_ince", set=target) for label, target in targets.items()
        },
        seeds=(0, 1, 2, 3, 4),
        measures={
            "domain": "accuracy.linear_domain",
            "class": "accuracy.linear",
            "class, unseen domain": "accuracy.linear_unseen_domain",
            "class, k-NN": "accuracy.knn",
        },
        reference="identity",
    )
