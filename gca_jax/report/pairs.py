"""The report of a run on pairs: its page, its pictures, and the list of doubtful pairs."""

import csv
import io
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gca_jax.report import markdown
from gca_jax.report.figures import COLOURS, plain, show_image
from gca_jax.report.reading import Files
from gca_jax.workdir import Json

WAYS = {"a_to_b": "a to b", "b_to_a": "b to a"}
HEAD = ["", "recall@1, %", "recall@5, %", "recall@10, %", "median rank", "hubs: skewness"]


def render(report: Json) -> str:
    """Write the page for the content of `report.json`."""
    pictures = partial(markdown.findings, title="Pictures")
    parts = (_heading, _retrieval, _weights, markdown.what_was_run, pictures)
    rest = (markdown.left_out, _procedure, markdown.config)
    pages = (part(report) for part in (*parts, *rest))
    return "\n".join(page for page in pages if page)


def _heading(report: Json) -> str:
    split, found = report["split"], report["retrieval"]
    recalls = [markdown.percent(found[way]["recall_1"]) for way in WAYS]
    title = f"# {markdown.title(report)}, seed {report['seed']}\n\n"
    title += markdown.unfinished(report)
    return title + markdown.wrap(
        f"**{recalls[0]} %** of the {report['judged_pairs']:,} {split['judged']} pairs are found "
        f"from a to b by the nearest neighbour, {recalls[1]} % from b to a (by chance: "
        f"{100 / report['judged_pairs']:.2g} %). {_noise(split)}"
    )


def _noise(split: Json) -> str:
    if not split["shuffled"]:
        return "No pair was shuffled."
    judged = " and of the judged ones" if split["judged"] == "validation" else ""
    share = markdown.percent(split["shuffled"])
    return f"{share} % of the training pairs{judged} were shuffled on purpose."


def _retrieval(report: Json) -> str:
    rows = []
    kinds = {"retrieval": "cosine", "retrieval_plan": "transport plan"}
    for key, words in kinds.items():
        for way, named in WAYS.items():
            if report[key] is not None:
                found, hubs = report[key][way], report[key]["hubness"][way]
                shares = [markdown.percent(found[f"recall_{depth}"]) for depth in (1, 5, 10)]
                rank, skewness = f"{found['median_rank']:g}", f"{hubs['skewness']:.2f}"
                rows.append([f"{words}, {named}", *shares, rank, skewness])
    words = (
        "The partner of each row is looked for among all judged pairs. A transport plan between "
        "all of them gives every candidate the same mass, so that hubs, near to too many queries, "
        "take less: skewness is that of how often a candidate is among the first ten."
    )
    return f"## Retrieval\n\n{markdown.table(HEAD, rows)}\n{markdown.wrap(words)}"


def _weights(report: Json) -> str:
    found = report["weights"]
    if found is None:
        return ""
    words = (
        f"The weights of the {report['split']['train_pairs']:,} training pairs are worth "
        f"{found['effective_pairs']:,.0f} pairs of equal weight "
        f"({markdown.percent(found['effective_share'])} %). The most doubtful pairs are in "
        "suspects.csv."
    )
    if found["auc"] is not None:
        words += (
            f" Of the shuffled pairs, {markdown.percent(found['wrong_share'])} % of all, small "
            f"weights find {markdown.percent(found['precision'])} % (as many pairs taken as were "
            f"shuffled); the area under the ROC curve is {found['auc']:.3f}."
        )
    return f"## Doubtful pairs\n\n{markdown.wrap(words)}"


def _procedure(report: Json) -> str:
    split = report["split"]
    lines = {
        "split": f"{split['train_pairs']:,} training pairs; the {split['judged']} pairs are drawn "
        "by the seed of the data, which is not that of the run, and no training step sees them.",
        "towers": f"frozen after the last step ({report['steps']}), not the best one.",
        "ties": "a candidate as near as the partner counts as half a place.",
        "plan": "balanced, between all judged pairs, at the ε of the loss.",
    }
    words = [markdown.wrap(f"- **{name}**: {line}", "  ") for name, line in lines.items()]
    return f"## How each number was obtained\n\n{''.join(words)}"


def headline(found: Json) -> dict[str, float]:
    """Choose the shares that are said first: recall@1, both ways."""
    shares = found["retrieval"]
    return {f"recall@1, {way.replace('_', ' ')}": shares[way]["recall_1"] for way in WAYS}


def tables(run: Files) -> dict[str, str]:
    """Give `suspects.csv`: the training pairs of least weight, by their rows in both files.

    The least comes first. `shuffled` tells a pair that was shuffled on purpose. There is nothing of
    a loss without plan.
    """
    if "log_shares" not in run.arrays:
        return {}
    shares, wrong = run.arrays["log_shares"], run.arrays["wrong"]
    rows_a, rows_b = run.arrays["weight_rows"]
    count = run.config["evaluation"]["suspects"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["rank", "row_a", "row_b", "weight", "shuffled"])
    for rank, k in enumerate(np.argsort(shares, kind="stable")[:count], 1):
        weight = f"{np.exp(shares[k] - shares.max()):.6g}"
        writer.writerow([rank, rows_a[k], rows_b[k], weight, int(wrong[k])])
    return {"suspects.csv": text.getvalue()}


def recall(run: Files) -> Figure:
    """Draw the share of queries whose partner is among the first k, by k."""
    figure = Figure(figsize=(6.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for index, (way, words) in enumerate(WAYS.items()):
        ranks = np.sort(run.arrays[f"ranks_{way}"])
        shares = np.arange(1, len(ranks) + 1) / len(ranks)
        line = axes.step(ranks, 100 * shares, where="post", label=words, color=COLOURS[index])
        line[0].set(linestyle=("-", "--")[index], linewidth=1.8)
    k = np.arange(1, len(ranks) + 1)  # all of them: on a logarithmic axis k / n is no straight line
    axes.plot(k, 100 * k / len(ranks), color="#777777", linestyle=":", label="by chance")
    axes.set(xscale="log", xlabel="k", ylabel="recall@k, %", ylim=(0, 102))
    axes.set_title(f"{run.title}: partners among the k nearest")
    axes.legend(loc="lower right")
    plain(axes)
    return figure


def weights(run: Files) -> Figure:
    """Draw the histogram of the training pairs' weights, shuffled pairs apart."""
    figure = Figure(figsize=(6.5, 4.5), layout="constrained")
    axes: Axes = figure.subplots()
    shares, wrong = np.exp(run.arrays["log_shares"]), run.arrays["wrong"]
    kinds = {"pairs as given": shares[~wrong], "shuffled pairs": shares[wrong]}
    edges = np.linspace(0, max(1.0, shares.max()), 41)
    for index, (words, values) in enumerate(kinds.items()):
        if len(values):
            heights, _ = np.histogram(values, edges)
            bars = axes.bar(edges[:-1], heights, np.diff(edges), align="edge", label=words)
            for bar in bars:
                bar.set(facecolor=COLOURS[index], alpha=0.65, hatch=("", "///")[index])
    axes.set(xlabel="share of its row's mass that a pair has in the plan", ylabel="training pairs")
    axes.set_title(f"{run.title}: weights of the training pairs")
    axes.margins(y=0.2)  # room for the legend
    axes.legend(loc="upper center", ncols=2)
    plain(axes)
    return figure


def extremes(run: Files) -> Figure:
    """Draw the pairs of least and of most weight, a above b."""
    sides, chosen = (run.arrays["extremes_a"], run.arrays["extremes_b"]), run.arrays["extremes"]
    shares, wrong = np.exp(run.arrays["log_shares"]), run.arrays["wrong"]
    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(4, chosen.shape[1], squeeze=False)
    for (line, column), axes in np.ndenumerate(panels):
        which, side = divmod(line, 2)
        show_image(axes, _picture(sides[side][which, column]))
        k = chosen[which, column]
        if side == 0:
            known = ", shuffled" * bool(wrong[k])
            axes.set_title(f"{shares[k]:.2g}{known}", fontsize=8)
        if column == 0:
            axes.set_ylabel(f"{('least', 'most')[which]} weight, {'ab'[side]}", fontsize=8)
    figure.suptitle(f"{run.title}: the share of its row's mass stands above each pair")
    return figure


def _picture(raw: np.ndarray) -> np.ndarray:
    """Bring pixels [h, w] or [h, w, c] to [0, 1], by their range where they are no uint8."""
    x = raw[..., None] if raw.ndim == 2 else raw[..., :3]
    if x.dtype == np.uint8:
        return x / 255
    low, high = x.min(), x.max()
    return (x - low) / (high - low) if high > low else np.zeros(x.shape)


FIGURES = {"recall": recall, "weights": weights, "extremes": extremes}
