"""What surrounds a run: the environment, flag files, files beside a config, typed paths."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from gca_jax import cli, config
from gca_jax.commands import Command
from gca_jax.data import sources, tables
from gca_jax.data.sources import tfds_sets, tree
from gca_jax.workdir import RunFolder
from tests import processes
from tests.data import prepared


@pytest.fixture
def restored():
    """JAX's settings are as before."""
    before = {name: getattr(jax.config, name) for name in cli.IGNORED}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x64", True),
        ("numpy_dtype_promotion", "strict"),
        ("disable_jit", True),
        ("transfer_guard", "disallow"),
    ],
)
def test_what_the_environment_has_of_jax_is_ignored_in_a_line(name, value, monkeypatch, capsys):
    name = "jax_enable_x64" if name == "x64" else f"jax_{name}"
    monkeypatch.setenv(name.upper(), str(value))
    jax.config.update(name, value)  # as JAX reads it when it is imported
    cli.read_environment()
    assert getattr(jax.config, name) == cli.IGNORED[name]
    assert name.upper() not in os.environ
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"note: {name.upper()}={value} is ignored")
    monkeypatch.setenv(name.upper(), str(cli.IGNORED[name]))
    cli.read_environment()
    assert capsys.readouterr().out == ""


def test_what_rounds_products_is_mentioned(monkeypatch, capsys):
    monkeypatch.setenv("JAX_DEFAULT_MATMUL_PRECISION", "bfloat16")
    cli.read_environment()
    assert "JAX_DEFAULT_MATMUL_PRECISION=bfloat16 is set: a run without it" in (
        capsys.readouterr().out
    )


def test_python_is_told_that_runs_are_in_float32(tiny):
    from gca_jax.experiment import build

    with jax.enable_x64(True), pytest.raises(ValueError, match=r"64-bit mode.*enable_x64\(False\)"):
        build(tiny())


def test_a_config_imports_the_files_beside_it_and_no_others(tmp_path):
    """Two folders have files of one name; what was imported is there for that config alone."""
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "shared_by_configs.py").write_text(f"NAME = {name!r}\n")
        (folder / "mine.py").write_text(
            "from shared_by_configs import NAME\n"
            "def get_config(options=''):\n"
            "    import shared_by_configs as late\n"
            "    return {'name': NAME, 'late': late.NAME}\n"
        )
    before = [*sys.path]
    for name in ("one", "two", "one"):
        assert config.load(str(tmp_path / name / "mine.py")) == {"name": name, "late": name}
    assert sys.path == before
    assert "shared_by_configs" not in sys.modules


@pytest.mark.slow
def test_flag_files_are_expanded_where_they_stand(tmp_path):
    (tmp_path / "inner").write_text("# of one machine\n--config.train.batch_size=64\n")
    (tmp_path / "outer").write_text(f"--config=digits:gca_ince\n--flagfile={tmp_path / 'inner'}\n")
    with processes.forked(tmp_path) as main:

        def keys(*typed):
            main.start(*typed)
            status, said = main.wait(), main.said()
            assert (status, said[1]) == (0, ""), said
            return said[0].splitlines()

        plain = keys("--config=digits:gca_ince", "--config.train.batch_size=64", "--help")
        assert "--config.train.batch_size=64" in plain
        outer, inner = (f"--flagfile={tmp_path / name}" for name in ("outer", "inner"))
        assert keys(outer, "--help") == plain
        assert keys("--config=digits:gca_ince", inner, "--help") == plain
        assert "--config.train.batch_size=32" in keys(
            outer, "--config.train.batch_size=32", "--help"
        )
        main.start("--flagfile=nowhere", "--help")
        assert main.wait() == 1
        (line,) = main.said()[1].splitlines()
        assert line.startswith("error: Unable to open flagfile: ")
        assert "nowhere" in line


def test_a_typed_path_may_begin_with_the_home_folder(tmp_path, monkeypatch, tiny):
    """No shell expands `--workdir=~/runs`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunFolder("~/runs/a").path == tmp_path / "runs/a"
    asked = Command(tiny(), "~/runs/a", out="~/x.npz")
    assert asked.folder == str(tmp_path / "runs/a")
    assert asked.file(".npz") == tmp_path / "x.npz"
    (tmp_path / "mine.py").touch()
    assert config.find("~/mine.py") == tmp_path / "mine.py"
    np.savez(tmp_path / "x.npz", images=np.zeros((10, 4, 4), np.uint8))
    assert len(sources.load("arrays", file="~/x.npz").train_images) == 8
    assert tables.read("~/x.npz:images").values.shape == (10, 4, 4)
    prepared.write_folder(tmp_path / "p", {"x": 1})
    assert tree.scan("~/p").root == tmp_path / "p"
    assert tfds_sets.expanded("~/tfds") == str(tmp_path / "tfds")
    with pytest.raises(ValueError, match=f"it is not in {tmp_path}/tfds/cifar10"):
        sources.load("cifar10", data_dir="~/tfds")


@pytest.mark.skipif(os.sep == "\\", reason="where it separates folders")
def test_a_workdir_that_checkpoints_cannot_have_is_refused_before_training(tmp_path):
    record = {"method": "ince", "data": {"kind": "images", "name": "digits"}, "train": {}}
    for path in (tmp_path / r"runs\mine", Path(r"a\b") / "c"):
        with pytest.raises(ValueError, match=r"has a backslash in its path.*--workdir=DIR"):
            RunFolder.open(path, record)
        assert not path.exists()


SCAN = "import sys; from gca_jax.data.sources import tree; print(len(tree.scan(sys.argv[1]).files))"


def test_a_locale_that_cannot_name_a_file_is_called_that(tmp_path):
    prepared.write_folder(tmp_path, {"Käfer": 2, "b": 2})
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}

    def scan(utf8):
        return subprocess.run(
            [sys.executable, "-c", SCAN, tmp_path],
            env={**os.environ, **plain, "PYTHONUTF8": utf8},
            cwd=processes.ROOT,
            capture_output=True,
            text=True,
        )

    assert "your locale names files in ascii: set PYTHONUTF8=1" in scan("0").stderr
    assert scan("1").stdout == "4\n"
