"""The report as a page: what was run, how well it did, and how each number came about."""

import json
import math
from collections.abc import Mapping
from typing import Any

from gca_jax.evaluation.domains import NAME as DOMAIN
from gca_jax.report.command import command

ENCODERS = {
    "trained": "trained encoder",
    "random_encoder": "untrained encoder",
    "pixels": "raw pixels",
}

PICTURES = """## Pictures

![Loss and learning rate over epochs](figures/training.png)

{plan}![Alignment against uniformity over training](figures/alignment_uniformity.png)

Alignment is the mean squared distance between the unit embeddings of two views of an image (0 is
best); uniformity is log E exp(−2‖z − z′‖²) over pairs of different images (lower is more uniform).
On augmented views of the test split at the end of training: alignment {alignment:.3f}, uniformity
{uniformity:.3f}, effective rank {effective_rank:.1f}. The points are training batches with batch
statistics of their own{byol_points}, so they need not meet the star.

![Test features in two dimensions](figures/plane.png)

t-SNE of the encoder's test features. Neighbourhoods mean something; distances between groups and
the axes do not.
"""

PROCEDURE = """## How each number was obtained

- **Split**: {train_images} training and {test_images} test images of {name}, fixed. Training sees
  no test image, and no setting below was chosen on the test split.
- **Frozen**: features come from the encoder without its projector, in inference mode; no weight
  and no batch statistic changes. The last step ({steps}) is evaluated, not the best one.
- **Linear, all labels**: L2-regularised logistic regression on features that are centred and
  divided by one common scale. Its strength C was chosen by log-loss on {percent:g} % of the
  training split, held out; the probe was then fitted on the whole training split.
  Chosen: {strengths}.
- **Linear, {per_class} labels a class**: the same probe on {labels} labels, mean over {draws}
  class-balanced draws, the same draws in every row. C was chosen for each draw by cross-validation
  within its own labels. Only centre and scale see the other training images, without labels.
{domain}- **k-NN**: cosine similarity, votes weighted by exp(similarity / 0.07); k was chosen by
  accuracy on the same held-out part, then the whole training split votes. Chosen: {neighbours}.
- **Untrained encoder**: the same architecture with the weights this run started from, residual
  scales at one and batch statistics calibrated on the training images.
- **Raw pixels**: the image itself as its features, shrunk to 32 x 32 pixels where it is larger.
"""

DOMAIN_PROCEDURE = """- **Linear, domain**: the probe on all labels, domains in place of classes.
  Chosen: {}.
"""

PLAN_PICTURE = "![Mean transport plan beside its target](figures/plan.png)"
PLAN = """The plan is the mean over class-balanced batches of test images, each sorted by class and
with augmentations of its own. Blocks on the diagonal are different images of one class that the
loss's own plan matches."""
BYOL = """BYOL's first view is the prediction; the online network stands in for the target
network."""


def render(report: Mapping[str, Any]) -> str:
    """The page for the content of `report.json`."""
    tables = (_heading, _accuracies, _corruptions)
    rest = (_what_was_run, _pictures, _left_out, _procedure, _config)
    pages = (part(report) for part in (*tables, *rest))
    return "\n".join(page for page in pages if page)


def _heading(report: Mapping[str, Any]) -> str:
    few = _few_label(report)
    return (
        f"# {report['method']} on {report['dataset']}, seed {report['seed']}\n\n"
        f"A linear probe with {_per_class(report)} labels a class classifies "
        f"**{_percent(report['accuracy'][few])} %** of the test images rightly, mean over "
        f"{_draws(report)}; "
        f"raw pixels reach {_percent(report['baselines']['pixels'][few])} %, the untrained encoder "
        f"{_percent(report['baselines']['random_encoder'][few])} %.\n"
    )


def _accuracies(report: Mapping[str, Any]) -> str:
    few, images, draws = _few_label(report), report["split"]["test_images"], _draws(report)
    columns = {
        few: f"linear, {_per_class(report)} labels a class",
        "linear": "linear, all labels",
        "knn": "k-NN",
        DOMAIN: "linear, domain",
    }
    columns = {key: words for key, words in columns.items() if key in report["accuracy"]}
    lines = [
        f"| test accuracy, % | {' | '.join(columns.values())} |",
        "|" + " --- |" * (len(columns) + 1),
    ]
    for name, words in ENCODERS.items():
        row = report["accuracy"] if name == "trained" else report["baselines"][name]
        cells = [_percent(row[key]) for key in columns]
        cells[0] += f" ± {_percent(report['draws'][name]['sd'])}"
        lines.append(f"| {words} | {' | '.join(cells)} |")
    share = report["accuracy"]["linear"]
    error = 100 * math.sqrt(share * (1 - share) / images)
    table = "\n".join(lines)
    return f"""## Accuracy

{table}

± is the standard deviation over {draws}, not over training seeds: this is one run. One of the
{images} test images is {100 / images:.2f} points; the standard error of the trained encoder's
all-label accuracy from so many images is {error:.1f} points.
"""


def _corruptions(report: Mapping[str, Any]) -> str:
    found = report["corruptions"]
    if found is None:
        return ""
    lines = ["| test accuracy, % | 1 | 2 | 3 | 4 | 5 | mean |", "|" + " --- |" * 7]
    for name, shares in found["accuracy"].items():
        cells = map(_percent, (*shares, sum(shares) / len(shares)))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    table = "\n".join(lines)
    means = "; ".join(f"{name} {_percent(mean)} %" for name, mean in found["mean"].items())
    return f"""## CIFAR-10-C

{table}

The linear probe on all labels, fitted to clean images, by corruption and severity; on clean test
images it reaches {_percent(found["clean"])} %. Means: {means}.
The extra four are gaussian_blur, saturate, spatter and speckle_noise; snow is what the authors'
code averages.
"""


def _what_was_run(report: Mapping[str, Any]) -> str:
    return f"""## What was run

{_repeat(report["config"])}

{report["steps"]:,} steps in {report["train_seconds"]:.1f} s on {report["device"]},
{report["images_per_second"]:,.0f} images per second, {report["parameters"]:,} parameters.
Everything that the run used is under Config.
"""


def _repeat(config: Mapping[str, Any]) -> str:
    """How to run it again: a command, or the call that built it."""
    if "given" not in config:
        return f"    {command(config)}"
    parts = ", ".join(f"{kind}={name}" for kind, name in config["given"].items())
    return f"    experiment = build(config, {parts})  # in Python, with the config below"


def _pictures(report: Mapping[str, Any]) -> str:
    numbers = {name: report[name] for name in ("alignment", "uniformity", "effective_rank")}
    byol = ", and BYOL's are predictions beside the target network's embeddings"
    return PICTURES.format(
        plan=_plan(report), byol_points=byol if report["method"] == "byol" else "", **numbers
    )


def _plan(report: Mapping[str, Any]) -> str:
    """The plan's picture and what it says, where the loss has a plan."""
    plan, cosine = report["plan_within_class"], report["gradient_cosine_to_ince"]
    if plan is None:
        return ""
    sentences = [PLAN]
    if report["method"] == "byol":
        sentences.append(BYOL)
    if plan["share"] is not None:
        sentences.append(
            f"Off the positive pairs {100 * plan['share']:.0f} % of its mass stays within\n"
            f"a class; a uniform plan would keep {100 * plan['share_of_uniform_plan']:.0f} %."
        )
    if cosine is not None:
        sentences.append(
            "On a test batch the gradients of this loss and of INCE on the same\n"
            f"kernel have cosine {cosine:.4f} (1: one objective under two names)."
        )
    return f"{PLAN_PICTURE}\n\n{' '.join(sentences)}\n\n"


def _left_out(report: Mapping[str, Any]) -> str:
    lines = "\n".join(f"- {words}." for words in report["left_out"])
    return f"## Left out\n\n{lines}\n" if lines else ""


def _procedure(report: Mapping[str, Any]) -> str:
    settings = report["settings"]

    def chosen(name: str) -> str:
        return ", ".join(f"{settings[e][name]:g} ({ENCODERS[e]})" for e in ENCODERS)

    domain = (
        DOMAIN_PROCEDURE.format(chosen(f"{DOMAIN}_strength"))
        if DOMAIN in report["accuracy"]
        else ""
    )
    return PROCEDURE.format(
        domain=domain,
        **{name: report["split"][name] for name in ("name", "train_images", "test_images")},
        steps=report["steps"],
        percent=100 * report["config"]["evaluation"]["validation_fraction"],
        strengths=chosen("linear_strength"),
        neighbours=chosen("knn_neighbours"),
        per_class=_per_class(report),
        labels=_per_class(report) * report["split"]["classes"],
        draws=len(report["draws"]["trained"]["accuracy"]),
    )


def _config(report: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    config = json.dumps(report["config"], indent=2)
    return f"## Config\n\n```json\n{config}\n```\n\nVersions: {versions}.\n"


def _per_class(report: Mapping[str, Any]) -> int:
    return int(report["config"]["evaluation"]["labels_per_class"])


def _few_label(report: Mapping[str, Any]) -> str:
    return f"linear_{_per_class(report)}_per_class"


def _draws(report: Mapping[str, Any]) -> str:
    count = len(report["draws"]["trained"]["accuracy"])
    labels = _per_class(report) * report["split"]["classes"]
    return f"{count} draws of {labels} labels" if count > 1 else f"one draw of {labels} labels"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
