"""What the JSON files of a run hold, as `check.shape` reads it: what readers rely on, no more."""

from typing import Any, NotRequired, TypedDict

CONFIG = {
    "method": str,
    "seed": int,
    "data": {"name": str, "kind?": ("images", "pairs", "own")},
    "train": {"epochs": float, "steps?": (int, None), "batch_size?": (int, None)},
}

IDENTITY: dict[Any, Any] = {str: object}


class Summary(TypedDict):
    """What training leaves in `training.json`; compilation is part of the seconds only."""

    finished: bool
    steps: int
    train_seconds: float
    images_per_second: float
    device: str
    parameters: int
    unit: NotRequired[str]  # of what a batch has: "images", "pairs"
    input_shape: NotRequired[list[int]]  # (h, w, c) of an image, or the widths of two sets
    shorter_side: NotRequired[int]  # of a picture, in pixels, before its centre is cut out
    matched: NotRequired[int]  # pairs that the plan found and the towers were trained with
    validation: NotRequired[dict[str, Any]]  # where it chose: step, likelihood, pairs, looks
    command: NotRequired[str]  # that was typed, last


SUMMARY = {
    name: kind
    for name, kind in Summary.__annotations__.items()
    if name in Summary.__required_keys__
}
RESULT = {
    "name": str,
    "accuracy": {str: float},
    "sd": dict,
    "settings?": {str: dict},
    # an earlier version's, which said how each result is shown
    **dict.fromkeys(("title?", "over?", "procedure?", "picture?", "caption?"), str),
}
EVALUATION = {
    "step": int,
    "method": str,
    "seed": int,
    "dataset": {"name": str},
    "accuracy": {str: float},
    "baselines?": {str: {str: float}},
    "left_out?": [str],
    "results": [RESULT],
}
RECALL = {"recall_1": float}
OF_PAIRS = {**EVALUATION, "retrieval": {"a_to_b": RECALL, "b_to_a": RECALL}}
CORRUPTIONS = {
    "step": int,
    "clean": float,
    "accuracy": {str: [float]},
    "mean": {str: float},
    "baselines?": dict,
}
CANDIDATES = {
    "asked": dict,  # the config
    "steps": int,  # of a short run
    "tried": [{"name": str, "likelihood": (float, None), "step": int, "steps": int}],
    "chosen": str,
}
REPORT = {"finished?": bool}
