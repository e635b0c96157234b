"""`catlipctl vocab import`."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from catlipctl import vocabulary

Vocab = Callable[..., Any]


class Touch:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch created",)


def test_the_released_form(vocab: Vocab, here: Path) -> None:
    released = {"n5928118": 52_418_327, "n13333833": 46_393_897, "n928077": 30_290_822}
    (here / "vocab.pkl").write_bytes(pickle.dumps(released))
    result = vocab("import", "vocab.pkl", "--out", "vocabulary.json", "--max-size", 2)
    assert result.stderr == "wrote vocabulary.json\n"
    shown = " ".join(result.stdout.split())
    assert "2 most frequent" in shown
    assert "captions unknown" in shown
    assert "n05928118 image 52,418,327" in shown
    found = vocabulary.load(here / "vocabulary.json")
    assert (found.keys, found.counted) == (("n05928118", "n13333833"), "occurrences")
    assert "never overwritten" in vocab("import", "vocab.pkl", "--out", "vocabulary.json", code=2).stderr


def test_code_is_refused_and_not_run(vocab: Vocab, here: Path) -> None:
    (here / "vocab.pkl").write_bytes(pickle.dumps({"n5928118": Touch()}))
    refused = vocab("import", "vocab.pkl", "--out", "vocabulary.json", "--json", code=3)
    error = json.loads(refused.stdout)["error"]
    assert error["exit_code"] == 3
    assert "vocab.pkl is refused: it asks for code to be run" in error["message"]
    assert [file.name for file in here.iterdir()] == ["vocab.pkl"]
    pickle.loads((here / "vocab.pkl").read_bytes())
    assert (here / "created").exists()
