"""How time and memory of GCA-INCE grow with the batch.

python -m benchmarks.scaling          # n = 512 to 65,536, about ten minutes on two cores
python -m benchmarks.scaling --quick  # n = 512 to 2,048, no picture

Draws docs/images/scaling.png. All is value and gradient, joint layout, d = 128.
"""

from matplotlib.figure import Figure

from benchmarks import loss, measure

BLOCK = 2**22  # entries of K at a time in the blockwise curve
CURVES = {  # name: function of n, largest n
    "whole K": (lambda n: loss.ours("gca_ince", block_size=n), 32768),
    "blocks": (lambda n: loss.ours("gca_ince", block_size=max(1, min(n // 8, BLOCK // n))), 65536),
    "NT-Xent, whole K": (lambda n: loss.ours("simclr", block_size=n), 32768),
    "plain log-domain scan": (lambda n: loss.plain_scan, 8192),
}
COLOURS = ("#0072B2", "#009E73", "#777777", "#D55E00")


def curves(n):
    """Seconds and bytes of temporaries at one size."""
    functions = {name: make(n) for name, (make, largest) in CURVES.items() if n <= largest}
    z = measure.views(n)
    seconds, memory = measure.losses(f"n = {n}", functions, *z, repeats=5, patience=20.0)
    return [
        {"n": n, "what": name, "seconds": seconds[name], "temporaries": memory[name]}
        for name in functions
    ]


def draw(lines, path):
    """Both against n."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels = ("seconds", "seconds, value and gradient", 1), ("temporaries", "temporaries, MB", 1e-6)
    for axes, (key, label, scale) in zip(figure.subplots(1, 2), panels, strict=True):
        for name, colour in zip(CURVES, COLOURS, strict=True):
            points = [(line["n"], scale * line[key]) for line in lines if line["what"] == name]
            axes.loglog(*zip(*points, strict=True), "o-", label=name, color=colour, markersize=4)
        axes.set(xlabel="n, rows of the kernel (twice the batch)", ylabel=label)
        axes.set_xscale("log", base=2)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend()
    figure.savefig(path, dpi=110)
    print(f"drawn: {path}")


def work(quick, plot):
    lines = [line for k in range(9, 12 if quick else 17) for line in curves(2**k)]
    if not quick:
        draw(lines, plot)
    return {"curves": lines}


if __name__ == "__main__":
    measure.command("scaling", __doc__, work, plot="docs/images/scaling.png")
