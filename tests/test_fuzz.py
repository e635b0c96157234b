"""Files as accidents and enemies leave them, through the readers of the commands: only our errors come out.

Bytes are flipped, cut and put in; parsed trees get values of other types. A checkpoint's manifest is made to
fit, so that what is tested is not the manifest alone.
"""

import copy
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from catlipctl import checkpoints, models, recipe, vocabulary
from catlipctl.checkpoints.writing import write_manifest
from catlipctl.errors import CheckpointError, DataError, UsageError
from catlipctl.labels import targets
from catlipctl.settings.models import ModelSettings
from catlipctl.settings.pretraining import PretrainRecipe
from catlipctl.training.report import MetricsRow, read_metrics
from catlipctl.training.saved import Saved
from catlipctl.transfer.initialise import read_account
from catlipctl.vocabulary import Vocabulary
from catlipctl.vocabulary.exchange import imported

Mutation = Callable[[bytes], bytes]

NUMBERS = [True, -1, 0, 1, 2, 7, 10**30, 1e308, float("nan"), float("inf")]
ODD_VALUES = st.sampled_from([None, *NUMBERS, "", "x", "\0", "é\u202e", [], {}, [[]], [1], {"a": 1}])
ODD_BYTES = st.sampled_from(
    [b"", b"\0", b"\xff", b"[" * 3000, b"1" * 5000, b'"', b"\\ud800", b"\n", b"\t", b"!!int ", b"{"]
)


@st.composite
def byte_mutations(draw: st.DrawFn) -> Mutation:
    """Bytes flipped, cut out, put in, or the end cut off."""
    at, until = sorted(draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    kind, put = draw(st.sampled_from(["flip", "cut", "put", "end"])), draw(ODD_BYTES)

    def mutate(content: bytes) -> bytes:
        first, last = int(at * len(content)), int(until * len(content))
        if kind == "flip" and content:
            first = min(first, len(content) - 1)
            return content[:first] + bytes([content[first] ^ (1 << (last % 8))]) + content[first + 1 :]
        if kind == "end":
            return content[:first]
        return content[:first] + put + content[last if kind == "cut" else first :]

    return mutate


def places(tree: Any) -> list[tuple[Any, Any]]:
    """Each container of a parsed tree with each of its keys."""
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []
    return [(tree, key) for key in keys] + [place for key in keys for place in places(tree[key])]


@st.composite
def tree_mutations(draw: st.DrawFn) -> Mutation:
    """A value of another kind at a place of a JSON document, or a key that is gone."""
    where, value, gone = draw(st.floats(0, 1)), draw(ODD_VALUES), draw(st.booleans())

    def mutate(content: bytes) -> bytes:
        tree = json.loads(content)
        found = places(tree)
        inside, key = found[min(int(where * len(found)), len(found) - 1)]
        if gone:
            del inside[key]
        else:
            inside[key] = copy.deepcopy(value)
        return json.dumps(tree).encode()

    return mutate


JSON = byte_mutations() | tree_mutations()
QUICK = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    words = Vocabulary(("n02084071", "n02121620"), (5, 3), "corenet", "1", "s", 9, 1, "occurrences", 0)
    return checkpoints.write_step(
        folder / "run",
        7,
        tower=models.create(ModelSettings(name="test_vit", image_size=160), num_classes=2),
        config={"objective": "catlip", "step": 7, "recipe": {"seed": 0}, "activation": "sigmoid"},
        vocabulary=words,
        state={"optimiser/step": torch.tensor(7.0)},
        state_json={
            "step": 7,
            "samples": 56,
            "totals": {"seconds": 1.5, "replaced": 0},
            "without_moments": ["model.a"],
            "kept": False,
            "data": {"samples": 100, "content": "0123"},
            "processes": 1,
            "micro_batch": 8,
            "threads": 2,
            "versions": {"python": "3.11"},
        },
    )


def only_our_errors(read: Callable[[], object]) -> None:
    with suppress(UsageError, DataError, CheckpointError):
        found = read()
        if isinstance(found, BaseModel):  # what is accepted can be told
            found.model_dump_json()


@pytest.mark.parametrize("name", ["config.json", "vocabulary.json", "model.safetensors"])
@QUICK
@given(data=st.data())
def test_a_checkpoint(whole: Path, folder: Path, name: str, data: st.DataObject) -> None:
    mutate = data.draw(byte_mutations() if name.endswith("safetensors") else JSON)
    other = Path(shutil.copytree(whole, folder / "other", dirs_exist_ok=True))
    (other / name).unlink()  # the weights that the last example mapped stay whole
    (other / name).write_bytes(mutate((whole / name).read_bytes()))
    (other / "manifest.json").unlink()
    write_manifest(other)
    only_our_errors(lambda: checkpoints.inspect(other))


@QUICK
@given(JSON, st.sampled_from(["manifest.json", "state/state.json"]))
def test_a_state_and_a_manifest(whole: Path, folder: Path, mutate: Mutation, name: str) -> None:
    other = Path(shutil.copytree(whole, folder / "state", dirs_exist_ok=True))
    (other / name).write_bytes(mutate((whole / name).read_bytes()))
    if name != "manifest.json":
        (other / "manifest.json").unlink()
        write_manifest(other)
    only_our_errors(lambda: checkpoints.verify(other))
    only_our_errors(lambda: checkpoints.read_state(other, Saved)[1])
    only_our_errors(lambda: checkpoints.latest(other.parent))


@QUICK
@given(JSON)
def test_a_vocabulary(whole: Path, folder: Path, mutate: Mutation) -> None:
    path = folder / "vocabulary.json"
    path.write_bytes(mutate((whole / "vocabulary.json").read_bytes()))
    only_our_errors(lambda: vocabulary.load(path).to_text().encode())
    only_our_errors(lambda: imported(path))


@QUICK
@given(byte_mutations(), byte_mutations())
def test_text_of_a_label_set_an_account_and_a_vocabulary(folder: Path, one: Mutation, two: Mutation) -> None:
    account = b"label,synsets,how,similarity,sources,source_names,missed\ndog,dog.n.01,exact,1,a,dog.n.01,\n"
    for name, text, read in (
        ("set.tsv", b"dog\tn02084071\ncat\tcat.n.01,dog.n.01\nxyzzy\t\n", targets.load),
        ("account.csv", account, targets.load),
        ("account.csv", account, read_account),
        ("vocabulary.tsv", b"n02084071\t5\tdog\nn02121620\t3\tcat\n", imported),
    ):
        path = folder / name
        path.write_bytes(two(one(text)))
        only_our_errors(lambda path=path, read=read: read(path))  # type: ignore[misc]


@QUICK
@given(JSON, byte_mutations())
def test_rows_of_metrics(folder: Path, change: Mutation, damage: Mutation) -> None:
    row = b'{"step": 1, "samples": 8, "loss": 0.5, "lr": 0.1}'
    path = folder / "metrics.jsonl"
    path.write_bytes(damage(change(row) + b"\n" + row + b"\n"))
    only_our_errors(lambda: [MetricsRow(**found) for found in read_metrics(path)])


@QUICK
@given(byte_mutations(), byte_mutations())
def test_a_recipe(folder: Path, one: Mutation, two: Mutation) -> None:
    path = folder / "recipe.yaml"
    path.write_bytes(two(one(recipe.find("demo").read_bytes())))
    only_our_errors(lambda: recipe.load(PretrainRecipe, path, [], {}).value)
