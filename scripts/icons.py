"""Make a data set with domains: freedesktop icons, the same things as several themes draw them.

    apt-get install breeze-icon-theme elementary-xfce-icon-theme faenza-icon-theme \
        gnome-icon-theme oxygen-icon-theme papirus-icon-theme librsvg2-bin
    python -m scripts.icons --themes=/usr/share/icons --out=data/icons

Writes OUT/THEME/CONTEXT/NAME.png, 32 x 32 pixels, RGB on white: a theme is a domain, the context in
which its `index.theme` puts an icon is the class. An icon is kept if at least two themes have its
name in the same context. Of files with the same content, which are aliases, and of equal pictures
in two themes one is kept. rsvg-convert (librsvg2-bin) draws the SVG that Breeze and Papirus have;
without it the themes that have PNG are written.

Licences of the artwork, from the packages' debian/copyright: breeze LGPL-3+; elementary-xfce GPL-2+
with parts under CC BY-SA 2.0 and LGPL-2+; Faenza GPL-3+; gnome GPL-2+ with parts under GPL-3+;
oxygen LGPL-3+; Papirus GPL-3.
docs/images/icons.png shows 108 of these icons.
"""

import argparse
import collections
import configparser
import hashlib
import io
import pathlib
import shutil
import subprocess
import tempfile

import PIL.Image
import PIL.ImageDraw

SIDE = 32
THEMES = ("Faenza", "Papirus", "breeze", "elementary-xfce", "gnome", "oxygen")
CLASSES = {  # by context, in lower case; themes do not spell them alike
    "actions": "actions",
    "applications": "apps",
    "apps": "apps",
    "devices": "devices",
    "mimetypes": "mimetypes",
    "places": "places",
    "status": "status",
}
SHOWN = 3  # names of each class in the preview

Key = tuple[str, str]  # class, name
Icons = dict[Key, pathlib.Path]


def find(theme: pathlib.Path, suffixes: tuple[str, ...]) -> Icons:
    """Find the best file of each icon: least size >= SIDE, else the largest; PNG before SVG."""
    index = configparser.ConfigParser(strict=False, interpolation=None)
    index.read(theme / "index.theme", encoding="utf-8")
    found: dict[Key, tuple[tuple[bool, int, bool], pathlib.Path]] = {}
    for folder in index.sections():
        kind = CLASSES.get(index[folder].get("Context", "").lower())
        if kind is None or index[folder].get("Scale", "1") != "1":
            continue
        size = int(index[folder]["Size"])
        for path in sorted((theme / folder).glob("*")):
            if path.suffix in suffixes and "symbolic" not in path.stem and path.exists():
                rank = (size < SIDE, abs(size - SIDE), path.suffix == ".svg")
                key = kind, path.stem
                if key not in found or rank < found[key][0]:
                    found[key] = rank, path
    return {key: path for key, (_, path) in found.items()}


def shared(themes: dict[str, Icons]) -> dict[str, Icons]:
    """Keep icons that two themes have, and one name of files with equal content in a theme."""
    counts = collections.Counter(key for icons in themes.values() for key in icons)
    kept = {}
    for theme, icons in themes.items():
        by_content: dict[bytes, Key] = {}
        # The name that most themes have comes first and is kept of several aliases.
        for key in sorted(icons, key=lambda key: (-counts[key], key)):
            if counts[key] > 1:
                content = hashlib.sha256(icons[key].read_bytes()).digest()
                by_content.setdefault(content, key)
        kept[theme] = {key: icons[key] for key in sorted(by_content.values())}
    return kept


def draw(path: pathlib.Path) -> PIL.Image.Image:
    """Draw an icon on white, its longer side SIDE pixels."""
    if path.suffix == ".svg":
        size = (f"--width={SIDE}", f"--height={SIDE}", "--keep-aspect-ratio")
        done = subprocess.run(["rsvg-convert", *size, str(path)], capture_output=True, check=True)
        image = PIL.Image.open(io.BytesIO(done.stdout)).convert("RGBA")
    else:
        image = PIL.Image.open(path).convert("RGBA")
    scale = SIDE / max(image.size)
    size = tuple(max(1, round(scale * side)) for side in image.size)
    small = image.resize(size, PIL.Image.Resampling.LANCZOS)
    sheet = PIL.Image.new("RGBA", (SIDE, SIDE), "white")
    sheet.alpha_composite(small, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return sheet.convert("RGB")


def write(themes: dict[str, Icons], out: pathlib.Path) -> dict[str, collections.Counter[str]]:
    """Write all distinct pictures; count them by theme and class."""
    seen: set[bytes] = set()
    counts = {}
    for theme, icons in themes.items():
        counts[theme] = collections.Counter[str]()
        for (kind, name), path in icons.items():
            try:
                image = draw(path)
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"left out: {path}: {error}")
                continue
            # A theme has blank placeholders.
            if image.tobytes() in seen or len(image.getcolors(SIDE**2) or ()) < 2:
                continue
            seen.add(image.tobytes())
            (out / theme / kind).mkdir(parents=True, exist_ok=True)
            image.save(out / theme / kind / f"{name}.png")
            counts[theme][kind] += 1
    return counts


def preview(out: pathlib.Path, sheet: pathlib.Path, themes: list[str]) -> None:
    """Draw a sheet of some icons that all themes have, a row for each theme."""
    have = [{str(p.relative_to(out / theme)) for p in (out / theme).rglob("*")} for theme in themes]
    names = sorted(name for name in set.intersection(*have) if name.endswith(".png"))
    chosen = []
    for kind in sorted(set(CLASSES.values())):
        of_kind = [name for name in names if name.startswith(f"{kind}/")]
        chosen += of_kind[:: max(1, len(of_kind) // SHOWN)][:SHOWN]
    cell, left = SIDE + 16, 110
    page = PIL.Image.new("RGB", (left + cell * len(chosen), 20 + cell * len(themes)), "white")
    pen = PIL.ImageDraw.Draw(page)
    for column, name in enumerate(chosen):
        if column % SHOWN == 0:
            pen.text((left + cell * column, 4), name.split("/")[0], "black")
        for row, theme in enumerate(themes):
            page.paste(PIL.Image.open(out / theme / name), (left + cell * column, 28 + cell * row))
    for row, theme in enumerate(themes):
        pen.text((8, 38 + cell * row), theme, "black")
    sheet.parent.mkdir(parents=True, exist_ok=True)
    page.save(sheet, optimize=True)
    print(f"{sheet}: {sheet.stat().st_size:,} bytes, {', '.join(chosen)}")


def main() -> None:
    """Write the folder and the preview; print counts."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--themes", type=pathlib.Path, required=True, help="/usr/share/icons")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--preview", type=pathlib.Path, help="a sheet of some icons, .png")
    options = parser.parse_args()
    if options.out.exists() and any(options.out.iterdir()):
        raise SystemExit(f"error: {options.out} is not empty: name another --out or delete it")
    suffixes = (".png", ".svg") if shutil.which("rsvg-convert") else (".png",)
    if len(suffixes) == 1:
        print("note: there is no rsvg-convert (librsvg2-bin), so icons in SVG are left out")
    found = {theme: find(options.themes / theme, suffixes) for theme in THEMES}
    found = {theme: icons for theme, icons in found.items() if icons}
    if len(found) < 2:
        have = ", ".join(found) or "none"
        raise SystemExit(f"error: {options.themes} has {have} of {', '.join(THEMES)}: install two")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.out.parent) as folder:
        whole = pathlib.Path(folder, "icons")
        counts = write(shared(found), whole)
        if options.out.exists():
            options.out.rmdir()
        whole.rename(options.out)
    for theme, by_class in counts.items():
        numbers = ", ".join(f"{kind} {count}" for kind, count in sorted(by_class.items()))
        print(f"{theme}: {by_class.total()} ({numbers})")
    print(f"{options.out}: {sum(map(collections.Counter.total, counts.values())):,} pictures")
    if options.preview:
        preview(options.out, options.preview, list(counts))


if __name__ == "__main__":
    main()
