"""The report as a page: what was run, how well it did, and how each number came about."""

import json
import math
import textwrap

import numpy as np

from gca_jax.evaluation.result import ENCODERS
from gca_jax.report import reading
from gca_jax.workdir import Json

WIDTH = 100
EXTREMES = 6  # rows from either end of a long table of classes
BASELINES = (
    "the same architecture with weights drawn from this run's seed, residual scales at one and "
    "batch statistics calibrated on the training images.",
    "the image itself as its features, shrunk to 32 x 32 pixels where it is larger.",
)
EXTRA_FOUR = (
    "The extra four are gaussian_blur, saturate, spatter and speckle_noise; snow is what the "
    "authors' code averages."
)
MADE = (
    "The corruptions were made on the fly from the clean test images, with the constants of "
    "CIFAR-10-C; occlusion, grey over 10 to 50 % of the area, is our own."
)
VALIDATION = (
    "**Judged on validation images**, here called test images: a fixed fifth of the training "
    "images, which nothing was trained with. The test images of the data set were not read."
)


def render(report: Json) -> str:
    """Write the page for the content of `report.json`."""
    results = (_heading, _accuracies, _groups, _corruptions, what_was_run, findings)
    pages = (part(report) for part in (*results, left_out, _procedure, config))
    return "\n".join(page for page in pages if page)


def headline(found: Json) -> dict[str, float]:
    """Choose the shares that are said first: the trained encoder's accuracies."""
    return found["accuracy"]


def render_own(report: Json) -> str:
    """Write the page of a run on data of the caller's own kind: what any evaluation may have."""
    parts = (_title, _scores, what_was_run, findings, left_out, _own_procedure, config)
    return "\n".join(page for page in (part(report) for part in parts) if page)


def _title(report: Json) -> str:
    return f"# {title(report)}, seed {report['seed']}\n\n{unfinished(report)}".rstrip() + "\n"


def _scores(report: Json) -> str:
    """Show what each encoder scores in each probe, and the baselines beside it."""
    probes = _probes(report)
    names = list(dict.fromkeys(name for probe in probes for name in probe["accuracy"]))
    rows = [[ENCODERS[name], *(_cell(probe, name) for probe in probes)] for name in names]
    if not rows:
        return ""
    head = ["on test data, %", *(probe["title"] for probe in probes)]
    return f"## Scores\n\n{table(head, rows)}"


def _own_procedure(report: Json) -> str:
    lines = {one["title"]: one["procedure"] for one in report["results"] if one["procedure"]}
    words = [wrap(f"- **{name}**: {line}", "  ") for name, line in lines.items()]
    return f"## How each number was obtained\n\n{''.join(words)}" if words else ""


def _heading(report: Json) -> str:
    head = f"# {title(report)}, seed {report['seed']}\n\n"
    if report["config"]["evaluation"].get("split") == "validation":
        head += wrap(VALIDATION) + "\n"
    head += unfinished(report)
    probes = _probes(report)
    if not probes:
        measured = ("alignment", "uniformity", "effective_rank")
        found = ", ".join(f"{name.replace('_', ' ')} {report[name]:.3f}" for name in measured)
        return head + wrap(f"No probe was fitted. On views of test images: {found}.")
    first = probes[0]
    share = {encoder: percent(value) for encoder, value in first["accuracy"].items()}
    over = f", mean over {first['over']}" if first["over"] else ""
    words = (
        f"**{share['trained']} %** of the test images are classified rightly "
        f"({first['title']}{over}); raw pixels reach {share['pixels']} %, the untrained encoder "
        f"{share['random_encoder']} %."
    )
    return head + wrap(words) + _below_pixels(probes)


def title(report: Json) -> str:
    """Name the run, as its pictures do."""
    return reading.title(report["method"], report["dataset"], report["config"])


def _below_pixels(probes: list[Json]) -> str:
    """Say so plainly where the encoder has lost against the images themselves."""
    lost = [
        f"{probe['title']} ({percent(trained)} against {percent(pixels)} %)"
        for probe in probes
        if "pixels" in probe["accuracy"] and not probe["name"].startswith("linear_domain")
        for trained, pixels in [(probe["accuracy"]["trained"], probe["accuracy"]["pixels"])]
        if trained < pixels
    ]
    if not lost:
        return ""
    return "\n" + wrap(
        f"**Below raw pixels**: {', '.join(lost)}. There the encoder's features are worth less "
        "than the images themselves: train longer, or with other augmentations or a larger "
        "network, before anything is read into a difference between methods."
    )


def unfinished(report: Json) -> str:
    """Say so where training has not come to its end."""
    if report["finished"]:
        return ""
    return wrap(
        f"**Training has not ended**: these numbers are of step {report['steps']:,}. The same "
        "command trains on, and judges again at the end."
    )


def _probes(report: Json) -> list[Json]:
    return [result for result in report["results"] if result["accuracy"]]


def _accuracies(report: Json) -> str:
    probes, images = _probes(report), report["split"]["test_images"]
    if not probes:
        return ""
    names = [name for name in ENCODERS if any(name in probe["accuracy"] for probe in probes)]
    rows = [[ENCODERS[name], *(_cell(probe, name) for probe in probes)] for name in names]
    cells = table(["test accuracy, %", *(probe["title"] for probe in probes)], rows)
    shares = [probe["accuracy"]["trained"] for probe in probes]
    error = max(100 * math.sqrt(share * (1 - share) / images) for share in shares)
    drawn = any(probe["over"] for probe in probes)
    spread = "± is the standard deviation over draws of labels, not over training seeds. "
    words = (
        f"This is one run. One of the {images} test images is {100 / images:.2f} points; the "
        "standard error of the trained encoder's accuracies from so many images is at most "
        f"{error:.1f} points."
    )
    return f"## Accuracy\n\n{cells}\n{wrap(spread * drawn + words)}"


def _groups(report: Json) -> str:
    """Show the trained encoder's accuracy by class and by domain, where it was measured."""
    tables = []
    for kind in ("class", "domain"):
        columns = {
            "linear, all labels": report.get(f"per_{kind}"),
            "linear, unseen domain": report.get(f"per_unseen_{kind}"),
        }
        measured = {title: shares for title, shares in columns.items() if shares}
        names, words = _extremes(next(iter(measured.values()), {}))
        each = measured.values()
        rows = [[name, *(percent(of[name]) if name in of else "" for of in each)] for name in names]
        if rows:
            tables.append(table([kind, *measured], rows) + words)
    if not tables:
        return ""
    title = "## Accuracy by class and domain\n\nOf the trained encoder, test images, %.\n\n"
    return title + "\n".join(tables)


def _extremes(shares: dict[str, float]) -> tuple[list[str], str]:
    """Choose which names a table shows: all, or of very many the worst and the best."""
    if len(shares) <= 2 * EXTREMES:
        return list(shares), ""
    ranked = sorted(shares, key=lambda name: shares[name])
    words = f"\nThe {EXTREMES} lowest and the {EXTREMES} highest of {len(shares)}.\n"
    return ranked[:EXTREMES] + ranked[-EXTREMES:], words


def _cell(probe: Json, encoder: str) -> str:
    if encoder not in probe["accuracy"]:
        return "–"
    sd = probe["sd"][encoder]
    return percent(probe["accuracy"][encoder]) + ("" if sd is None else f" ± {percent(sd)}")


def _corruptions(report: Json) -> str:
    found = report["corruptions"]
    if found is None:
        return ""
    others = found.get("baselines", {})  # CIFAR-10-C is measured without
    judged = [found["accuracy"], *(one["accuracy"] for one in others.values())]
    rows = [
        [name, *map(percent, (*shares, *(float(np.mean(each[name])) for each in judged)))]
        for name, shares in found["accuracy"].items()
    ]
    head = ["test accuracy, %", *"12345", "mean", *(f"mean, {ENCODERS[name]}" for name in others)]
    means = [("Means", found), *((f"Of the {ENCODERS[name]}", others[name]) for name in others)]
    words = wrap(
        "The linear probe on all labels, fitted to clean images, by corruption and severity. "
        f"{' '.join(_means(*one) for one in means)} {MADE if others else EXTRA_FOUR}"
    )
    picture = "![Accuracy over severity](figures/corruptions.png)"
    title = "Corruptions" if others else "CIFAR-10-C"
    return f"## {title}\n\n{table(head, rows)}\n{words}\n{picture}\n"


def _means(words: str, found: Json) -> str:
    means = "; ".join(f"{name} {percent(mean)} %" for name, mean in found["mean"].items())
    return f"{words}: clean test images {percent(found['clean'])} %; {means}."


def what_was_run(report: Json) -> str:
    """Say how long the run took, how to repeat it, and draw its loss."""
    unit = report.get("unit", report["config"]["data"]["kind"])
    words = wrap(
        f"{report['steps']:,} step{'s' * (report['steps'] != 1)} in "
        f"{report['train_seconds']:.1f} s on {report['device']}, "
        f"{report['images_per_second']:,.0f} {unit} per second, {report['parameters']:,} "
        "parameters. Everything that the run used is under Config."
    )
    picture = "![Loss and learning rate over epochs](figures/training.png)"
    return f"## What was run\n\n{_repeat(report)}\n\n{words}\n{picture}\n"


def _repeat(report: Json) -> str:
    """Say how to run it again: by its config, by what was typed, or by the call that built it."""
    config = report["config"]
    if "given" in config:
        parts = ", ".join(f"{kind}={name}" for kind, name in config["given"].items())
        return f"    experiment = build(config, {parts})  # in Python, with the config below"
    again = "    python main.py --config=config.json --workdir=DIR  # this folder's config.json"
    typed = report.get("command")
    return again if typed is None else f"    {typed}\n\nAgain, with the same config:\n\n{again}"


def findings(report: Json, title: str = "What views and features show") -> str:
    """Show the pictures of the results, and what they have to say."""
    parts = []
    for result in report["results"]:
        if result["picture"]:
            parts.append(f"![{result['title']}](figures/{result['picture']}.png)\n")
        if result["caption"]:
            parts.append(wrap(result["caption"]))
    return "\n".join([f"## {title}\n", *parts]) if parts else ""


def left_out(report: Json) -> str:
    """List what was not measured, and why."""
    lines = "\n".join(f"- {words}." for words in report["left_out"])
    return f"## Left out\n\n{lines}\n" if lines else ""


def _procedure(report: Json) -> str:
    split, other = report["split"], ""
    if (seen := split["pretrain_images"]) != split["train_images"]:
        other = f" Pretraining saw {seen} images in place of the training images."
    best = [one["title"] for one in report["results"] if one["name"] == "finetune_best_on_test"]
    no_setting = f"no setting below but the epoch of “{best[0]}”" if best else "no setting below"
    lines = {
        "split": f"{split['train_images']} training and {split['test_images']} test images of "
        f"{split['name']}{_where(report)}, fixed.{other} Training sees no test image, and "
        f"{no_setting} was chosen on the test split.",
        "frozen": "features come from the encoder without its projector, in inference mode; no "
        f"weight and no batch statistic changes. The last step ({report['steps']}) is evaluated, "
        "not the best one.",
        **{one["title"]: one["procedure"] for one in report["results"] if one["procedure"]},
    }
    if _probes(report):
        lines |= dict(zip(("untrained encoder", "raw pixels"), BASELINES, strict=True))
    words = [wrap(f"- **{name}**: {line}", "  ") for name, line in lines.items()]
    return f"## How each number was obtained\n\n{''.join(words)}"


def _where(report: Json) -> str:
    """Name the folder and, where one is held out, the domain that all test images are of."""
    data = report["config"]["data"]
    where = f" ({data['root']})" if data.get("root") else ""
    held_out = data.get("held_out")
    return f"{where}, the latter all of domain {held_out}" if held_out else where


def config(report: Json) -> str:
    """Give all settings and versions."""
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    config = json.dumps(report["config"], indent=2)
    return f"## Config\n\n```json\n{config}\n```\n\nVersions: {versions}.\n"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Write a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def wrap(words: str, indent: str = "") -> str:
    """Fill lines; a number stays beside its %."""
    held = words.replace(" %", "\N{NO-BREAK SPACE}%")
    lines = textwrap.fill(held, WIDTH, subsequent_indent=indent, break_on_hyphens=False)
    return lines.replace("\N{NO-BREAK SPACE}%", " %") + "\n"


def percent(share: float) -> str:
    """Write a share as a percentage with one decimal."""
    return f"{100 * share:.1f}"
