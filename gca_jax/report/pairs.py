"""Figures of a run on pairs, and the list of suspected wrong pairs."""

import csv
import io

import numpy as np
from matplotlib.figure import Figure

from gca_jax.report.figures import COLOURS, curve, head, image_grid, plain
from gca_jax.workdir import Json, RunFolder

WAYS = {"a_to_b": "a to b", "b_to_a": "b to a"}


def headline(found: Json) -> dict[str, float]:
    """Return recall@1 in both directions."""
    shares = found["retrieval"]
    return {f"recall@1, {named}": shares[way]["recall_1"] for way, named in WAYS.items()}


def tables(report: Json, folder: RunFolder) -> dict[str, str]:
    """Give `suspects.csv`: the training pairs that are least likely right, by their rows.

    The least comes first; of equal ones that of least weight. `shuffled` tells a pair that was
    shuffled on purpose. Empty for a loss without a plan.
    """
    arrays = folder.arrays
    if "log_shares" not in arrays:
        return {}
    shares, wrong, (rows_a, rows_b) = (arrays[x] for x in ("log_shares", "wrong", "weight_rows"))
    right = arrays.get("posterior", np.full(len(shares), np.nan))  # of an earlier version: none
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rank", "row_a", "row_b", "probability", "weight", "shuffled"])
    first = np.lexsort((shares, right))[: report["config"]["evaluation"]["suspects"]]
    for rank, k in enumerate(first, 1):
        weight = f"{np.exp(shares[k] - shares.max()):.6g}"
        writer.writerow([rank, rows_a[k], rows_b[k], f"{right[k]:.4f}", weight, int(wrong[k])])
    return {"suspects.csv": text.getvalue()}


def recall(report: Json, folder: RunFolder) -> Figure:
    """Draw the share of queries whose partner is among the first k, by k."""
    figure = Figure(figsize=(6.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for index, (way, words) in enumerate(WAYS.items()):
        ranks = np.sort(folder.arrays[f"ranks_{way}"])
        shares = np.arange(1, len(ranks) + 1) / len(ranks)
        look = dict(color=COLOURS[index], linestyle=("-", "--")[index], drawstyle="steps-post")
        curve(axes, ranks, 100 * shares, None, label=words, linewidth=1.8, **look)
    k = np.arange(1, len(ranks) + 1)  # all of them: on a logarithmic axis k / n is no straight line
    curve(axes, k, 100 * k / len(ranks), color="#777777", linestyle=":", label="by chance")
    axes.set(xscale="log", xlabel="k", ylabel="recall@k, %", ylim=(0, 102))
    head(figure, report, ": partners among the k nearest")
    axes.legend(loc="lower right")
    return figure


def weights(report: Json, folder: RunFolder) -> Figure:
    """Draw histograms of how likely the training pairs are right and of their weights.

    Shuffled pairs stand apart.
    """
    arrays = folder.arrays
    drawn = {"share of its row's mass that a pair has in the plan": np.exp(arrays["log_shares"])}
    if "posterior" in arrays:  # not in a run evaluated by an earlier version
        drawn = {"probability that a pair is right": arrays["posterior"], **drawn}
    figure = Figure(figsize=(5.5 * len(drawn) + 1, 4.5), layout="constrained")
    wrong = arrays["wrong"]
    for axes, (label, values) in zip(
        figure.subplots(1, len(drawn), squeeze=False)[0], drawn.items(), strict=True
    ):
        edges = np.linspace(0, max(1.0, values.max()), 41).tolist()
        kinds = {"pairs as given": values[~wrong], "shuffled pairs": values[wrong]}
        for index, (words, some) in enumerate(kinds.items()):
            if len(some):
                colour, hatch = COLOURS[index], ("", "///")[index]
                axes.hist(some, edges, label=words, color=colour, alpha=0.65, hatch=hatch)
        axes.set(xlabel=label, ylabel="training pairs")
        axes.margins(y=0.2)  # room for the legend
        axes.legend(loc="upper center", ncols=2)
        plain(axes)
    head(figure, report, ": which training pairs look right")
    return figure


def extremes(report: Json, folder: RunFolder) -> Figure:
    """Draw the pairs of least and of most weight, a above b."""
    a, b = (folder.arrays[name] for name in ("extremes_a", "extremes_b"))
    images = [[_unit_range(image) for image in side[which]] for which in (0, 1) for side in (a, b)]
    chosen = folder.arrays["extremes"]
    shares, wrong = np.exp(folder.arrays["log_shares"]), folder.arrays["wrong"]
    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = image_grid(figure, images)
    for which, least_or_most in enumerate(("least", "most")):
        for side, name in enumerate("ab"):
            panels[2 * which + side, 0].set_ylabel(f"{least_or_most} weight, {name}", fontsize=8)
        for axes, k in zip(panels[2 * which], chosen[which], strict=True):
            known = ", shuffled" * bool(wrong[k])
            axes.set_title(f"{shares[k]:.2g}{known}", fontsize=8)
    head(figure, report, ": the share of its row's mass stands above each pair")
    return figure


def _unit_range(raw: np.ndarray) -> np.ndarray:
    """Bring pixels [h, w] or [h, w, c] to [0, 1], by their range where they are no uint8."""
    x = raw[..., None] if raw.ndim == 2 else raw[..., :3]
    if x.dtype == np.uint8:
        return x / 255
    low, high = x.min(), x.max()
    return (x - low) / (high - low) if high > low else np.zeros(x.shape)


def validation(report: Json, folder: RunFolder) -> Figure:
    """Draw the held-out likelihood of the validation pairs by step, the chosen step marked."""
    found = report["validation"]
    steps, likelihoods = np.transpose(found["looks"])
    figure = Figure(figsize=(6.5, 4.5), layout="constrained")
    axes = figure.subplots()
    curve(axes, steps, likelihoods, color=COLOURS[0], linewidth=1.8, marker="o", markersize=3)
    chosen = found["step"], found["likelihood"]
    star = axes.scatter(*chosen, marker="*", s=170, color=COLOURS[3], edgecolor="black", zorder=3)
    star.set(clip_on=False, linewidth=0.6, label=f"chosen: step {found['step']:,}")
    axes.set_xscale("symlog", linthresh=10)
    axes.set(xlabel="step", ylabel="held-out likelihood ℓ, nats a pair", xlim=(0, None))
    head(figure, report, f": {found['pairs']:,} validation pairs")
    axes.legend(loc="best")
    return figure


FIGURES = {"recall": recall, "weights": weights, "extremes": extremes, "validation": validation}
