"""Words of the report about results that carry none: numbers of the run in them, and fallbacks."""

import pytest

from gca_jax.report import entries, markdown
from gca_jax.report.entries import ENTRIES, described
from tests.report.conftest import CONFIG, PROBES, TRAINING, evaluation

EVALUATION = {"rounds": 3, "sgd_epochs": 6, "finetune_epochs": 8, "sgd_learning_rate": 0.2}
FINETUNED = {"trained": [0.5, 0.75, 0.625], "random_encoder": [0.25, 0.5, 0.5]}


def result(name, accuracy=None, settings=None):
    """A result as this version writes it."""
    found = accuracy or {}
    return {"name": name, "accuracy": found, "sd": dict.fromkeys(found), "settings": settings or {}}


def report(results, **changes):
    """What `report.json` is made of."""
    found = evaluation()
    config = {
        **CONFIG,
        "augment": {"policy": "gentle"},
        "evaluation": CONFIG["evaluation"] | EVALUATION,
    }
    about = {"split": found["dataset"], "config": config, "corruptions": None, **TRAINING}
    made = {**found, **about, "dataset": "digits", "finetune_by_epoch": FINETUNED, **changes}
    return {**made, "results": described({**made, "results": results})}


def words_of(name, **changes):
    """The words of one result."""
    (words,) = report([result(name)], **changes)["results"]
    return words


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_is_filled_in_and_stands_on_one_line(name):
    words = words_of(name)
    assert words["title"]
    for part in entries.Entry._fields:
        assert not set("{}\n") & set(words[part])
        assert "  " not in words[part]


def test_numbers_in_the_words_are_those_of_the_run():
    few = words_of("linear_4_per_class")
    assert few["title"] == "linear, 4 labels a class"
    assert few["over"] == "2 draws of 4 labels a class"
    short = {"fewer_labels": {"a": 1, "b": 3}, "not_held_out": ["a"]}
    few, whole = (words_of(name, **short)["procedure"] for name in ("linear_4_per_class", "linear"))
    assert few.endswith("without labels. Of 2 classes with fewer images it is on all.")
    assert whole.endswith("training split. Nothing was held out of 1 class with too few images.")
    best = words_of("finetune_best_on_test")["procedure"]
    assert "worth 12.5 points (trained encoder) and 0.0 points (untrained encoder)." in best
    assert "8 epochs" in words_of("finetune")["procedure"]
    assert "policy gentle" in words_of("linear_sgd")["procedure"]
    assert "0.9321" in words_of("gradient_cosine")["caption"]
    assert words_of("gradient_cosine", gradient_cosine_to_ince=None)["caption"] == ""
    views = words_of("views")["caption"]
    assert "alignment 0.250, uniformity -2.500, effective rank 8.5" in views
    assert "BYOL" not in views
    assert "BYOL's are predictions" in words_of("views", method="byol")["caption"]


def test_the_caption_of_a_plan_says_whose_it_is_and_what_stays_within_a_class():
    caption = words_of("plan")["caption"]
    assert "50 % of its mass stays within a class; a uniform plan would keep 25 %" in caption
    assert "online network" not in caption
    byol = words_of("plan", method="byol")["caption"]
    assert "online network stands in for the target" in byol
    shares = {"share": 0.75, "share_of_uniform_plan": 0.5}
    for part in ("test", "training"):
        about = {"plan_of": {"kind": "domain", "part": part}, "plan_within_domain": shares}
        words = words_of("plan", **about)
        assert words["title"] == "the transport plan of a batch"
        assert f"one batch of {part} images" in words["caption"]
        assert ("All test images are of one domain" in words["caption"]) == (part == "training")
        assert "75 % of its mass stays within a domain" in words["caption"]


def test_what_a_probe_has_chosen_follows_its_procedure():
    chosen = {"trained": {"knn_neighbours": 5}, "pixels": {"knn_neighbours": 1, "many": [1, 2]}}
    (knn,) = report([result("knn", settings=chosen)])["results"]
    assert knn["procedure"].endswith("votes. Chosen: 5 (trained encoder), 1 (raw pixels).")


def test_a_result_without_an_entry_is_shown_under_its_name_and_an_older_run_s_with_its_words():
    scores = {"trained": 0.875, "pixels": 0.5}
    made = report([result("mine", scores), *PROBES])
    assert made["results"][1:] == PROBES
    page = markdown.scores("test accuracy, %", made["results"])
    assert "| test accuracy, % | mine | few | linear, all labels | k-NN |" in page
    (row,) = [line for line in page.splitlines() if line.startswith("| untrained encoder")]
    assert row.startswith("| untrained encoder | – | 40.0 ± 1.4")
