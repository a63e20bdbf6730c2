"""Write the pairs of two sets that the studies of noisy pairs are run on, as .npy files.

    apt-get install dataset-fashion-mnist
    npm pack emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0
    for name in google twitter; do mkdir -p $name; tar xzf emoji-datasource-$name-16.0.0.tgz \
        -C $name; done
    python -m scripts.two_sets --fashion=/usr/share/datasets/fashion-mnist --emoji=. --out=data

fashion: the left and the right half of each of Fashion-MNIST's 60,000 training and 10,000 test
images (Xiao, Rasul and Vollgraf, arXiv 1708.07747; MIT licence), and their classes. many: 20,000 of
the training images, each left half with three right halves: as it is, a pixel higher, a pixel
lower. emoji: the same 1,911 signs as Google (Noto, Apache 2.0) and Twitter (Twemoji, CC BY 4.0)
draw them, 24 x 24 pixels on white, and their categories; data and images by Cal Henderson's
emoji-data (MIT).
"""

import argparse
import gzip
import json
import pathlib

import numpy as np
import PIL.Image

SIDE = 24


def fashion(source: pathlib.Path, out: pathlib.Path) -> None:
    """Write the sets fashion (training and test images) and many."""
    for name, part in (("train", "fashion"), ("t10k", "fashion_test")):
        images = _idx(source / f"{name}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
        np.save(out / f"{part}_a.npy", images[:, :, :14])
        np.save(out / f"{part}_b.npy", images[:, :, 14:])
        np.save(out / f"{part}_labels.npy", _idx(source / f"{name}-labels-idx1-ubyte.gz", 8))
        if part == "fashion":
            some = images[:: len(images) // 20_000]
            left = np.repeat(some[:, :, :14], 3, axis=0)
            right = [np.roll(some[:, :, 14:], shift, axis=1) for shift in (0, -1, 1)]
            np.save(out / "many_a.npy", left)
            np.save(out / "many_b.npy", np.stack(right, axis=1).reshape(-1, 28, 14))


def _idx(path: pathlib.Path, offset: int) -> np.ndarray:
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=offset)


def emoji(source: pathlib.Path, out: pathlib.Path) -> None:
    """Write the set emoji."""
    makers = ("google", "twitter")
    rows = json.loads((source / "google" / "package" / "emoji.json").read_text())
    both = [row for row in rows if all(row[f"has_img_{maker}"] for maker in makers)]
    for letter, maker in zip("ab", makers, strict=True):
        folder = source / maker / "package" / "img" / maker / "64"
        pictures = np.stack([_draw(folder / row["image"]) for row in both])
        np.save(out / f"emoji_{letter}.npy", pictures)
    np.save(out / "emoji_labels.npy", np.array([row["category"] for row in both]))


def _draw(path: pathlib.Path) -> np.ndarray:
    """Draw a picture on white at SIDE x SIDE pixels."""
    image = PIL.Image.open(path).convert("RGBA")
    white = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image)
    small = white.convert("RGB").resize((SIDE, SIDE), PIL.Image.Resampling.BOX)
    return np.asarray(small)


def main() -> None:
    """Write the sets whose sources are given; print the shapes of all files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fashion", type=pathlib.Path, help="folder of the four .gz files")
    parser.add_argument("--emoji", type=pathlib.Path, help="folder with google/ and twitter/")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for write in (fashion, emoji):
        if (source := getattr(options, write.__name__)) is not None:
            write(source, options.out)
    for path in sorted(options.out.glob("*.npy")):
        print(path, np.load(path, mmap_mode="r").shape)


if __name__ == "__main__":
    main()
