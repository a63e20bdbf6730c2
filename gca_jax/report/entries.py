"""How the report shows each result: its title, its caption, and how its numbers were obtained.

Evaluations return numbers alone; a result without an entry here is shown under its name.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from gca_jax.check import counted
from gca_jax.workdir import Json

Text = str | Callable[[Json], str]
"""A format string, or a function, of the content of `report.json` and of `asked`, the config's
settings of the evaluation."""

ENCODERS = {
    "trained": "trained encoder",
    "random_encoder": "untrained encoder",
    "pixels": "raw pixels",
    "raw": "raw input",
}
"""Encoders compared and their names in the report: the trained one and the baselines."""


class Entry(NamedTuple):
    """How one result is shown.

    Attributes:
        title: Column of the table of accuracies, or name of a picture.
        procedure: How the accuracies were obtained; what each encoder's probe has chosen follows.
        over: What the draws of a probe are.
        picture: Key of `report.run.FIGURES`; empty for none.
        caption: What a reader should know of the numbers or the picture; empty for nothing.
    """

    title: Text
    procedure: Text = ""
    over: Text = ""
    picture: Text = ""
    caption: Text = ""


def described(report: Json) -> list[Json]:
    """Add titles, captions and procedures to the results of a report.

    Results written by an earlier version bring texts of their own.
    """
    known = {**report, "asked": report["config"]["evaluation"], "shortages": _shortages(report)}
    return [{**_texts(result, known), **result} for result in report["results"]]


def _shortages(report: Json) -> dict[str, str]:
    """Describe how many classes have too few images, by the key that lists them; empty if none."""
    few, small = (len(report.get(key) or ()) for key in ("fewer_labels", "not_held_out"))
    return {
        "fewer_labels": f" Of {counted(few, 'class')} with fewer images it is on all." * bool(few),
        "not_held_out": f" Nothing was held out of {counted(small, 'class')} with too few images."
        * bool(small),
    }


def _texts(result: Json, report: Json) -> dict[str, str]:
    """Fill in the entry of a result, on one line each."""
    words = dict.fromkeys(Entry._fields, "") | {"title": result["name"]}
    if "title" in result:
        return words
    name = re.sub(r"^linear_\d+_per_class$", "linear_few", result["name"])
    if name in ENTRIES:
        for field, each in ENTRIES[name]._asdict().items():
            filled = each(report) if callable(each) else each.format_map(report)
            words[field] = " ".join(filled.split())
    words["procedure"] = (words["procedure"] + _chosen(result)).lstrip()
    return words


def _chosen(result: Json) -> str:
    """List the hyper-parameter chosen for each encoder's probe, where it is one number."""
    chosen = [
        f"{value:g} ({ENCODERS[encoder]})"
        for encoder, settings in result["settings"].items()
        for value in settings.values()
        if isinstance(value, int | float)
    ]
    return f" Chosen: {', '.join(chosen)}." if chosen else ""


def _draws(report: Json) -> str:
    asked = report["asked"]
    draws = "one draw" if asked["draws"] == 1 else f"{asked['draws']} draws"
    return f"{draws} of {asked['labels_per_class']} labels a class"


def _best_epoch(report: Json) -> str:
    worth = [
        f"{100 * (max(accuracies) - accuracies[-1]):.1f} points ({ENCODERS[encoder]})"
        for encoder, accuracies in report["finetune_by_epoch"].items()
    ]
    return f"""the same training as fine-tuned, but of all epochs that with the best accuracy **on
        the test images**, as the authors' code chooses it. The choice alone is worth
        {" and ".join(worth)}."""


def _plan(report: Json) -> str:
    """Describe the images of the plan and the share of its mass within a class."""
    if "plan_of" in report:
        kind, part = report["plan_of"]["kind"], report["plan_of"]["part"]
        shares = report["plan_within_domain"]
        words = f"""The target joins images by their domains, so this is one batch of {part}
            images, with as many of each domain, sorted by domain and, with labels, within it by
            class: the plan that the loss makes of it beside its target."""
        if part == "training":
            words += " All test images are of one domain, for which the target would be flat."
    else:
        kind = "class" if report["split"]["classes"] else "domain"
        shares = report["plan_within_class"]
        words = f"""The plan is the mean over {kind}-balanced batches of test images, each sorted
            by {kind} and with augmentations of its own. Blocks on the diagonal are different
            images of one {kind} that the loss's own plan matches."""
    if report["method"] == "byol":
        words += """ BYOL's first view is the prediction; the online network stands in for the
            target network."""
    if shares["share"] is not None:
        words += f""" Off the positive pairs {100 * shares["share"]:.0f} % of its mass stays within
            a {kind}; a uniform plan would keep {100 * shares["share_of_uniform_plan"]:.0f} %."""
    return words


def _plan_title(report: Json) -> str:
    return "the transport plan of a batch" if "plan_of" in report else "the mean transport plan"


def _gradients(report: Json) -> str:
    cosine = report["gradient_cosine_to_ince"]
    if cosine is None:  # of byol, whose kernel INCE does not share
        return ""
    return f"""On a test batch the gradients of this loss and of INCE on the same kernel have
        cosine {cosine:.4f} (1: one objective under two names)."""


def _views(report: Json) -> str:
    predicted = ", and BYOL's are predictions beside the target network's embeddings"
    return VIEWS.format(byol=predicted if report["method"] == "byol" else "", **report)


def _nearest(name: str, of: str, report: Json) -> str:
    (first, *_) = report[f"{name}_neighbours"]["neighbours"]
    per = report[f"{name}_neighbours"].get("queries_per")
    return NEAREST.format(k=len(first), of=of, queries=QUERIES[per])


VIEWS = """Alignment is the mean squared distance between the unit embeddings of two views of an
image (0 is best); uniformity is log E exp(−2‖z − z′‖²) over pairs of different images (lower is
more uniform). On augmented views of the test split at the end of training: alignment
{alignment:.3f}, uniformity {uniformity:.3f}, effective rank {effective_rank:.1f}. The points are
training batches with batch statistics of their own{byol}, so they need not meet the star."""
BY_SGD = """SGD with Nesterov momentum 0.9, without weight decay, the learning rate falling from
{asked[sgd_learning_rate]:g} to zero as a cosine, on batches of up to 512 images augmented as the
policy {config[augment][policy]} does it for a classifier. The last epoch is reported; nothing was
chosen."""
NEAREST = """Test images (left) and the {k} other test images{of} that are nearest to each by the
cosine similarity of the encoder's features, which stands above them. The queries are not chosen:
{queries}. Where images have labels, neighbours of another class than the query's have a frame."""
QUERIES = {
    "class": "the first test image of each class, of very many classes of evenly spaced ones",
    "domain": "evenly spaced over the test images of each domain",
    None: "evenly spaced over the test split",
}
OVER_TRAINING = "alignment against uniformity over training"
ELSEWHERE = " of other domains"

ENTRIES = {
    "linear_few": Entry(
        "linear, {asked[labels_per_class]} labels a class",
        """the linear probe on {asked[labels_per_class]} labels of each class, mean over
        {asked[draws]} class-balanced draws, the same draws in every row. C was chosen for each
        draw by cross-validation within its own labels. Only centre and scale see the other
        training images, without labels.{shortages[fewer_labels]}""",
        over=_draws,
    ),
    "linear": Entry(
        "linear, all labels",
        """L2-regularised logistic regression on features that are centred and divided by one
        common scale. Its strength C was chosen by log-loss on a share of
        {asked[validation_fraction]:g} of the training split, held out; the probe was then fitted
        on the whole training split.{shortages[not_held_out]}""",
    ),
    "knn": Entry(
        "k-NN",
        """cosine similarity, votes weighted by exp(similarity / 0.07); k was chosen by accuracy on
        a held-out part of the training split, then the whole of it votes.
        {shortages[not_held_out]}""",
    ),
    "linear_online": Entry(
        "linear, online",
        """a linear layer trained beside the encoder, on features of both views of each training
        batch and their labels, without a gradient to the encoder. Nothing was chosen. It has
        followed an encoder that changed; the linear probe is fitted to the final one.""",
    ),
    "linear_sgd": Entry(
        "linear, SGD",
        """a linear layer on the features as they are, trained for {asked[sgd_epochs]} epochs;
        encoder and batch statistics are frozen, pixels are normalised as the encoder's input is.
        """
        + BY_SGD,
    ),
    "finetune": Entry(
        "fine-tuned",
        """not a measure of frozen features: copies of the whole encoder, batch statistics too,
        trained with a linear layer and all labels for {asked[finetune_epochs]} epochs.
        """
        + BY_SGD,
    ),
    "finetune_best_on_test": Entry("fine-tuned, best epoch on test images", _best_epoch),
    "linear_domain": Entry(
        "linear, domain",
        "L2-regularised logistic regression as with all labels, domains in place of classes.",
    ),
    "linear_unseen_domain": Entry(
        "linear, unseen domain",
        """the linear probe on all labels, leaving out one domain: for each domain it is fitted,
        centre, scale and C included, to the training images of the other domains and tested on
        those of the one left out; mean over the domains. The encoder has seen images of every
        domain, without labels.""",
    ),
    "corruptions": Entry("corruptions"),
    "plan": Entry(_plan_title, picture="plan", caption=_plan),
    "gradient_cosine": Entry("the cosine to INCE's gradient", caption=_gradients),
    "views": Entry(OVER_TRAINING, picture="alignment_uniformity", caption=_views),
    "confusion": Entry(
        "the confusion matrix",
        picture="confusion",
        caption="""The linear probe on all labels, trained encoder: of the test images of each
        class (row), the share that is taken for each class (column), in %.""",
    ),
    "nearest": Entry(
        "nearest neighbours", picture="nearest", caption=partial(_nearest, "nearest", "")
    ),
    "nearest_across": Entry(
        "nearest neighbours" + ELSEWHERE,
        picture="nearest_across",
        caption=partial(_nearest, "nearest_across", ELSEWHERE),
    ),
    "plane": Entry(
        "test features in two dimensions",
        picture="plane",
        caption="""t-SNE of the encoder's test features. Neighbourhoods mean something; distances
        between groups and the axes do not.""",
    ),
    "retrieval": Entry("retrieval", picture="recall"),
    "weights": Entry(
        "which training pairs look right",
        picture="weights",
        caption="""The probability that a pair is right compares its mass, in a plan at ε = 0.05
        between all training pairs (or batches of 4,096) that is told of no pair, with that of rows
        dealt anew. Its weight is the share of its row's mass in the plan of the loss, mean over
        {asked[rounds]} random batches.""",
    ),
    "extremes": Entry(
        "most and least doubtful pairs",
        picture="extremes",
        caption="Training pairs of least weight (above) and of most (below); a over b.",
    ),
    "embeddings": Entry(OVER_TRAINING, picture="alignment_uniformity"),
}
"""Entries by the names of results; those of probes on few labels under `linear_few`."""
