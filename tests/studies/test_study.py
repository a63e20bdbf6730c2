"""What an author writes is what is read; a mistake is one line before anything begins."""

import re
import runpy

import pytest
from absl import flags
from ml_collections import config_flags

from gca_jax import cli, studies
from gca_jax.studies.grid import all_runs, cells
from gca_jax.studies.study import of_one, slug
from gca_jax.studies.study import seeds as seeds_of
from gca_jax.workdir import as_json
from tests.conftest import ROOT


def test_what_is_written_is_read_in_its_order(make):
    methods = {
        "z": studies.Method("gca_uot,smoke", {"loss.q": 0.5}, {"loss.epsilon": [0.1, 0.2]}),
        "a b. c": studies.Method("ince"),
    }
    study = make(
        methods=methods,
        conditions={"noise 0.5": {"train.epochs": 3}, "0": studies.Condition({}, x=0)},
        published={"0": {"z": (90, 0.5, 3)}},
        reference="z",
        common={"train.batch_size": 64, "train.epochs": 2},
        x_label="noise",
    )
    found = study.as_json()
    assert list(found["methods"]) == ["z", "a b. c"]
    assert found["methods"]["z"] == {
        "words": "gca_uot,smoke",
        "set": {"loss.q": 0.5},
        "choose": {"loss.epsilon": (0.1, 0.2)},
        "against": None,
    }
    assert found["conditions"] == {
        "noise 0.5": {"set": {"train.epochs": 3}, "x": None},
        "0": {"set": {}, "x": 0},
    }
    assert found["common"] == {"train.batch_size": 64, "train.epochs": 2}
    assert found["published"] == [["0", "z", 90, 0.5, 3]]
    assert (found["seeds"], found["choose_seeds"]) == ((0, 1, 2), (1000,))
    assert make(seeds=(1000, 1001)).trial_seeds == (1002,)


FILE = """
from gca_jax import studies


def get_config(options: str = "") -> studies.Study:
    choose = {"loss.epsilon": (0.1, 0.2)}
    return studies.Study(
        "configs/digits.py",
        common={"train.epochs": 30, "data.root": str},
        methods={"InfoNCE": studies.Method("simclr"), "a, b-c": studies.Method("ince", {}, choose)},
        conditions={"x = 1": studies.Condition(x=1.0)},
        seeds=(0, 1, 2),
        choose_by="accuracy.linear",
        measures={"k-NN": "accuracy.knn"},
    )
"""


def typed(tmp_path, *arguments):
    """The study that a command line gives, by the library with the parsers of `cli`."""
    assert cli
    file, values = tmp_path / "mine.py", flags.FlagValues()
    file.write_text(FILE)
    line = ["main.py", f"--config={file}", *(f"--config.{argument}" for argument in arguments)]
    holder = config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=line)
    values(line)
    return holder.value


@pytest.mark.filterwarnings("ignore:the load_module")
def test_flags_reach_every_part(tmp_path):
    study = typed(
        tmp_path,
        "seeds=(3,4)",
        "common.train.epochs=5",
        "common.data.root=some/where",
        "methods.a_b_c.choose.loss.epsilon=(0.7,)",
        "methods.InfoNCE.against=a, b-c",
        "conditions.x_1.x=2.5",
        "reference=InfoNCE",
        "choose_seeds=7",
        "plans=true",
    )
    found = study.as_json()
    assert (found["seeds"], found["choose_seeds"]) == ((3, 4), (7,))
    assert found["common"] == {"train.epochs": 5, "data.root": "some/where"}
    assert found["methods"]["a, b-c"]["choose"] == {"loss.epsilon": (0.7,)}
    assert found["methods"]["InfoNCE"]["against"] == "a, b-c"
    assert found["conditions"]["x = 1"]["x"] == 2.5
    assert (found["reference"], found["plans"]) == ("InfoNCE", True)
    table = typed(tmp_path, "measures={'linear': 'accuracy.linear'}").measures
    assert table == {"linear": "accuracy.linear"}


@pytest.mark.filterwarnings("ignore:the load_module")
@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("seed=1", "seed"),
        ("common.train.epoch=5", "epoch"),
        ("methods.SimCLR.words=x", "there is no 'SimCLR'; one of: InfoNCE, a, b-c"),
        ("methods.InfoNCE.choose.loss.epsilon=(0.1,)", "loss"),
        ("common.train.epochs=many", "many"),
        ("measures=accuracy.knn", "measures"),
    ],
)
def test_flags_of_what_is_not_there_are_refused(tmp_path, argument, message):
    with pytest.raises((AttributeError, KeyError, flags.Error), match=message):
        typed(tmp_path, argument)


M = studies.Method


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": {}}, "the study's grid is empty: it has no methods"),
        ({"seeds": ()}, "the study's grid is empty: it has no seeds"),
        ({"conditions": {}}, "the study's grid is empty: it has no conditions"),
        ({"seeds": (0, 1, 0)}, "a seed is there twice"),
        (
            {"seeds": (0, 1.5)},
            r"an entry of seeds must be an integer from 0 to 2\^32 - 1, got 1\.5",
        ),
        ({"choose_seeds": ("0",)}, r"an entry of choose_seeds must be an integer .*, got '0'"),
        ({"reference": "BYOL"}, "reference 'BYOL' is no method; one of: InfoNCE, GCA-UOT"),
        ({"published": {"x": {"InfoNCE": (1, 1, 2)}}}, "published 'x' is no condition"),
        ({"published": {"all": {"x": (1, 1, 2)}}}, "published 'x' is no method"),
        ({"plain": ("ranks",)}, "plain 'ranks' is no measure; one of: linear probe, rank"),
        ({"choose_by": None}, "choose_by must name what chooses"),
        (
            {"methods": {"InfoNCE": M("ince", choose={"loss.epsilon": ()})}},
            "candidates of loss.epsilon of method 'InfoNCE' must be a tuple of at least one",
        ),
        (
            {"methods": {"InfoNCE": M("ince", choose={"loss.layout": "joint"})}},
            "candidates of loss.layout of method 'InfoNCE' must be a tuple",
        ),
        ({"methods": {"InfoNCE": M("ince"), "infonce": M("ince")}}, "would share a folder"),
        ({"common": {"train": 1, "train.epochs": 2}}, "and a part of it are both given"),
    ],
)
def test_a_study_that_cannot_be_is_refused_when_it_is_made(make, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        make(**changes)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": "configs/none.py"}, "there is no config file configs/none.py"),
        ({"base": "configs/studies/digits_methods.py"}, "is no run's config"),
        ({"common": {"train.epoch": 3}}, "unknown key train.epoch (common, with method 'InfoNCE')"),
        (
            {"common": {"seed.x": 3}},
            "unknown key seed.x (common, with method 'InfoNCE'); there are: ",
        ),
        (
            {"methods": {"InfoNCE": M("simclr", {"loss.q": 0.5})}},
            "unknown key loss.q (method 'InfoNCE'); there are: loss.",
        ),
        (
            {"methods": {"InfoNCE": M("simclr", choose={"loss.q": (0.5,)})}},
            "unknown key loss.q (choose of method 'InfoNCE')",
        ),
        (
            {"conditions": {"hard": {"data.noise": 1}}},
            "unknown key data.noise (condition 'hard', with method 'InfoNCE')",
        ),
        ({"common": {"train.epochs": "x"}}, "train.epochs (common, with method 'InfoNCE'): "),
        ({"methods": {"InfoNCE": M("infonce")}}, "unknown method 'infonce'; one of: ince"),
        (
            {"methods": {"InfoNCE": M("simclr", choose={"loss.epsilon": (0.2, 0.2)})}},
            "two runs of the study would share the folder runs/all/InfoNCE/epsilon=0.2-seed",
        ),
    ],
)
def test_all_configs_are_made_and_checked_before_anything_runs(planned, changes, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        planned(**changes)
    assert len(str(caught.value).splitlines()) == 1


def test_a_run_is_an_ordinary_run_with_the_changes(planned):
    _, grid = planned(
        common={"train.epochs": 2, "loss.epsilon": 0.9},
        conditions={"small": {"train.batch_size": 64}},
    )
    plain, chosen = grid
    (run,) = [run for run in plain.finals[0] if run.seed == 2]
    expected = runpy.run_path(str(ROOT / "configs/digits.py"))["get_config"]("simclr")
    expected.update_from_flattened_dict(
        {"train.epochs": 2, "train.batch_size": 64, "loss.epsilon": 0.9, "seed": 2}
    )
    assert run.record == as_json(expected)
    assert run.config.is_locked
    assert not plain.chooses
    assert plain.trials == ((),)
    assert [runs[0].config.loss.epsilon for runs in chosen.trials] == [0.1, 0.3, 0.5]
    assert {run.config.evaluation.split for runs in chosen.trials for run in runs} == {"validation"}
    assert {run.config.evaluation.split for runs in chosen.finals for run in runs} == {"test"}
    assert [run.seed for run in chosen.trials[0]] == [1000]


def test_folders_are_readable_and_legal_anywhere(planned):
    choose = {
        "loss.epsilon": (0.2,),
        "loss.layout": ("joint",),
        "model.stage_sizes": ((1,), (1, 1)),
        "train.epochs": (3,),
    }
    _, grid = planned(
        methods={"a/b: c*": M("gca_uot", choose=choose)}, conditions={"CON": {}}, reference=None
    )
    folders = [run.folder for run in all_runs(grid)]
    assert folders == [run.folder for run in all_runs(cells(planned_again(planned, choose)))]
    assert len(set(map(str.casefold, folders))) == len(folders) == 2 * (1 + 3)
    for folder in folders:
        assert re.fullmatch(r"runs/CON_/a_b_c/epsilon=0\.2,[\w=.,-]+-seed\d+(-validation)?", folder)
        assert max(map(len, folder.split("/"))) < 150


def planned_again(planned, choose):
    study, _ = planned(
        methods={"a/b: c*": M("gca_uot", choose=choose)}, conditions={"CON": {}}, reference=None
    )
    return study


def test_keys_with_one_last_part_are_told_apart(planned):
    choose = {"loss.q": (0.5,), "optimizer.name": ("sgd",), "data.name": ("digits",)}
    _, grid = planned(methods={"InfoNCE": M("gca_uot", choose=choose)})
    folder = grid[0].finals[0][0].folder
    assert folder.endswith("data.name=digits,q=0.5,optimizer.name=sgd-seed0")


@pytest.mark.parametrize("name", ["con", "COM1", "..", "a" * 300, "ä/ö", "noise 0.2", "-1"])
def test_a_slug_is_a_key_and_a_folder(name):
    made = slug(name)
    assert re.fullmatch(r"[\w+=-]{1,61}", made, re.ASCII)
    assert made.lower() not in ("con", "com1")


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0-4", (0, 1, 2, 3, 4)), ("0,3,7", (0, 3, 7)), ("2", (2,)), ("0-1,5", (0, 1, 5))],
)
def test_seeds_are_read(text, seeds):
    assert seeds_of(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "0-", "1,,2", "-3"])
def test_other_words_are_no_seeds(text):
    with pytest.raises(ValueError, match="--seeds must be like 0-4 or 0,3,7"):
        seeds_of(text)


def test_one_config_over_seeds_keeps_its_split(digits):
    config = digits.get_config("ince")
    config.evaluation.split = "validation"
    study = of_one(config.lock(), (0, 3))
    (cell,) = cells(study, config)
    assert [run.folder for run in cell.finals[0]] == ["runs/all/ince/seed0", "runs/all/ince/seed3"]
    assert [run.config.evaluation.split for run in cell.finals[0]] == ["validation"] * 2
    assert study.reference is None


FILES = sorted((ROOT / "configs" / "studies").glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_studies_that_come_with_it_have_a_grid(path):
    module = runpy.run_path(str(path))
    study = module["get_config"]()
    study.seeds = study.seeds[:1]
    assert cells(study)
    assert f"--mode=study --config=configs/studies/{path.name}" in module["__doc__"]
    assert "Expected time: " in module["__doc__"]
