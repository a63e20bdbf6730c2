"""Processes that tests start: their environment, and several on 127.0.0.1 as several hosts."""

import contextlib
import functools
import importlib.metadata
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

from packaging.version import Version

ROOT = pathlib.Path(__file__).parents[1]
NETWORK = {  # the smallest, as the fixture `tiny` has it
    "model.stage_sizes": (1,),
    "model.width": 4,
    "model.projector_hidden": 8,
    "model.projector_dim": 8,
}
QUICK = "--xla_cpu_parallel_codegen_split_count=1"
if Version(importlib.metadata.version("jaxlib")) < Version("0.12"):  # XLA ends at an unknown flag
    QUICK += " --xla_cpu_use_fusion_emitters=false"


def environment(devices=1):
    """Variables for CPU devices that compile in a fifth of the time, into slower code.

    A program keeps no lines of its source, and freed memory is kept for the next compilation.
    """
    return {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {QUICK}",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_PLATFORMS": "cpu",
        "JAX_TRACEBACK_IN_LOCATIONS_LIMIT": "0",
        "MALLOC_TRIM_THRESHOLD_": "1000000000",
        "MALLOC_MMAP_THRESHOLD_": "1000000000",
        "MALLOC_TOP_PAD_": "67108864",
        "PYTHONDONTWRITEBYTECODE": "",  # one process compiles the sources for all
    }


def free_port():
    """A port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(*arguments, devices=1, stdin=None):
    """Start Python with these arguments in the project's folder."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment(devices)},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def quicken(set_attribute):
    """Make plans the mean over two batches, end t-SNE early, and draw pictures coarsely."""
    import matplotlib.figure  # here: every process of a session reads this file at its start
    import sklearn.manifold

    from gca_jax.evaluation import nearest, plan

    draw = matplotlib.figure.Figure.savefig

    def draw_coarsely(figure, path, dpi):
        figure.set_layout_engine("none")
        draw(figure, path, dpi=dpi / 5)

    set_attribute(plan, "BATCHES", 2)
    set_attribute(nearest, "TSNE", functools.partial(sklearn.manifold.TSNE, max_iter=250))
    set_attribute(matplotlib.figure.Figure, "savefig", draw_coarsely)


QUICK_EVALUATION = "from tests import processes; processes.quicken(setattr)"
FORK = """
import gc, json, os, runpy, sys
sys.path.insert(0, os.getcwd())
import gca_jax.commands, gca_jax.evaluation.evaluate, gca_jax.report.run, gca_jax.training.train
exec(sys.argv.pop())
gc.freeze()
for line in sys.stdin:
    process = os.fork()
    if not process:
        for number, name in enumerate(sys.argv[1:], start=1):
            os.dup2(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
        sys.argv = ["main.py", *json.loads(line)]
        runpy.run_path("main.py", run_name="__main__")
        sys.exit()
    print(process, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


class Main:
    """main.py, in processes forked off one that has the imports; one at a time."""

    def __init__(self, folder, devices, before):
        self._said = [folder / name for name in ("out", "err")]
        self.parent = start("-c", FORK, *self._said, before, devices=devices, stdin=subprocess.PIPE)

    def start(self, *arguments):
        """Start it with these arguments."""
        for file in self._said:
            file.unlink(missing_ok=True)
        self.parent.stdin.write(f"{json.dumps(arguments)}\n")
        self.parent.stdin.flush()
        self._process = int(self.parent.stdout.readline())

    def wait(self):
        """Its exit status, once it has ended; below 0: minus the signal that ended it."""
        return int(self.parent.stdout.readline())

    def kill(self, number=signal.SIGKILL):
        """Kill it, or send it another signal, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process, number)

    def ended(self):
        """Whether it has: the parent has taken its status then."""
        try:
            os.kill(self._process, 0)
        except ProcessLookupError:
            return True
        return False

    def said(self):
        """What it wrote to standard output and standard error."""
        return [file.read_text() if file.exists() else "" for file in self._said]


@contextlib.contextmanager
def forked(folder, devices=1, before=""):
    """Give a `Main` on so many devices, with files in a folder; `before` patches the parent."""
    main = Main(folder, devices, before)
    try:
        yield main
        assert main.parent.communicate(timeout=60) == ("", "")
    finally:
        main.parent.kill()


def run(program, count, devices, *arguments):
    """Run `program` in processes of `devices` CPU devices each; return what each prints.

    It is given its index, how many there are, the coordinator's port, and the arguments.
    """
    port = free_port()
    processes = [
        start("-c", program, i, count, port, *arguments, devices=devices) for i in range(count)
    ]
    try:
        results = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, results, strict=True):
        assert process.returncode == 0, errors
    return [output for output, _ in results]
