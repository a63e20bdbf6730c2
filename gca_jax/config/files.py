"""Config files, found by name: nothing here imports a loss or a network."""

from pathlib import Path

_HERE = Path(__file__).resolve().parents[1]
FOLDER = next(path for path in (_HERE.parent / "configs", _HERE / "configs") if path.is_dir())
"""The project's config files: beside the package in a checkout, in it where it is installed."""


def find(name: str) -> Path:
    """Find a config file: a path, or a name in the project's folder (`cifar10`, `studies/table2`).

    Raises:
        ValueError: there is none; a pipe would be waited for.
    """
    path = Path(name).expanduser()
    for candidate in (path, FOLDER / f"{name}.py", FOLDER.parent / path):
        if candidate.is_file():
            return candidate
    folder = path.parent if path.suffix == ".py" and path.parent.is_dir() else FOLDER
    fault = f"{path} is no config file" if path.exists() else f"there is no config file {path}"
    fault = fault if name else "--config must have a value: NAME:METHOD or FILE:METHOD"
    raise ValueError(f"{fault}; {folder.name or folder} has: {names(folder)}")


def names(folder: Path = FOLDER) -> str:
    """List the config files of a folder."""
    return ", ".join(sorted(file.stem for file in folder.glob("*.py"))) or "none"
