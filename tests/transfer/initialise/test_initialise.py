"""Transfer Init: which rows are taken, by NLTK's WordNet; what is written, read by others."""

import csv
import gzip
import itertools
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from timm.data.imagenet_info import ImageNetInfo
from timm.models import save_for_hf

from catlipctl import checkpoints
from catlipctl.checkpoints import Checkpoint
from catlipctl.errors import CheckpointError, DataError, UsageError
from catlipctl.labels import targets
from catlipctl.labels.corenet import CorenetExtractor
from catlipctl.labels.targets import Label, LabelSet, Mapping
from catlipctl.transfer import transfer_init, write_transfer_init
from catlipctl.transfer.initialise import AccountRow
from catlipctl.transfer.initialise.matching import match_labels
from catlipctl.vocabulary import overlap

from ..conftest import NAMES, keys, tower


def label_set(**synsets: tuple[str, ...]) -> LabelSet:
    return LabelSet("mine", tuple(Label(name, keys(*meant)) for name, meant in synsets.items()))


TARGETS = label_set(**{name.split(".")[0]: (name,) for name in NAMES})
TARGET = label_set(
    dog=("dog.n.01",),
    vehicle=("vehicle.n.01",),
    puppy=("puppy.n.01",),
    ladle=("ladle.n.01",),
    kitchen_dog=("kitchen.n.01", "dog.n.01"),
    kitchen_algebra=("kitchen.n.01", "algebra.n.01"),
    algebra=("algebra.n.01",),
    nothing=(),
)


@pytest.mark.parametrize("label", TARGET.labels, ids=lambda label: label.name)
@pytest.mark.parametrize("min_similarity", [1 / 3, 0.5])
@pytest.mark.parametrize("mapping", ["heads", "paper"])
@pytest.mark.usefixtures("nltk_data")
def test_the_ladder_by_nltks_wordnet(label: Label, min_similarity: float, mapping: Mapping) -> None:
    from nltk.corpus import wordnet as wn

    vocabulary = {key: wn.synset(name) for key, name in zip(keys(*NAMES), NAMES, strict=True)}

    def expected(key: str) -> tuple[str, set[str], float] | None:
        synset = wn.synset_from_pos_and_offset("n", int(key[1:]))
        if key in vocabulary:
            return "exact", {key}, 1.0
        similarity = {k: s.path_similarity(synset) for k, s in vocabulary.items()}
        below = set(synset.closure(lambda s: s.hyponyms()))
        if mapping == "heads" and (kinds := {k for k, s in vocabulary.items() if s in below}):
            return "hyponyms", kinds, max(similarity[k] for k in kinds)
        best = max(similarity.values())
        if best < min_similarity:
            return None
        return "similar", {k for k, value in similarity.items() if value == best}, best

    (match,) = match_labels(LabelSet("one", (label,)), list(vocabulary), min_similarity, mapping)
    words = [found for key in label.synsets if (found := expected(key)) is not None]
    missed = len(label.synsets) - len(words)
    if mapping == "paper" and missed:
        words = []
    assert [(m.how, set(m.sources)) for m in match.matches] == [(how, kinds) for how, kinds, _ in words]
    assert [m.similarity for m in match.matches] == pytest.approx([value for *_, value in words])
    how = "random" if not words else "partial" if missed else "averaged" if len(words) > 1 else words[0][0]
    assert match.how == how
    assert match.similarity == pytest.approx(
        min([value for *_, value in words] + [0.0] * missed, default=0.0)
    )
    assert match.missed == tuple(key for key in label.synsets if expected(key) is None)


def test_every_way_occurs_above() -> None:
    found = {mapping.how for mapping in match_labels(TARGET, keys(*NAMES))}
    assert found == set(targets.HOWS)


def test_a_word_that_is_missed_is_said(checkpoint: Checkpoint) -> None:
    words = label_set(
        kitchen_algebra=("kitchen.n.01", "algebra.n.01"), kitchen_dog=("kitchen.n.01", "dog.n.01")
    )
    half, whole = transfer_init(checkpoint, words).account
    assert (half.how, half.similarity, half.missed) == ("partial", 0.0, ["algebra.n.01"])
    assert (whole.how, whole.similarity, whole.missed) == ("averaged", 1.0, [])
    assert checkpoint.vocabulary is not None
    overlapping = overlap.overlap(checkpoint.vocabulary, words)
    assert overlapping.exact == sum(row.similarity == 1 for row in (half, whole)) == 1


def test_a_label_is_as_near_as_overlap_says(checkpoint: Checkpoint) -> None:
    """Over all that is met, exactly or not; kinds of a synset may be farther than another class is."""
    assert checkpoint.vocabulary is not None
    words = Label("racing car", keys("race.n.02", "car.n.01"))
    found = {label.name: label for name in ("coco", "places365") for label in targets.load(name).labels}
    mine = LabelSet("mine", (words, *found.values()))
    vocabulary = replace(
        checkpoint.vocabulary,
        keys=keys("car.n.01", "freestyle.n.01", "dog.n.01", "kitchen.n.01", "red.n.01", "spoon.n.01"),
        counts=(6, 5, 4, 3, 2, 1),
    )
    near = {m.label: m.similarity for m in overlap.overlap(vocabulary, mine).matches}
    matches = dict(zip(near, match_labels(mine, vocabulary.keys), strict=True))
    assert (matches["racing car"].how, matches["racing car"].similarity) == ("averaged", 0.5)
    assert (matches["auto_showroom"].how, matches["auto_showroom"].similarity) == ("partial", 0.0)
    whole = [name for name, match in matches.items() if match.how in ("exact", "similar", "averaged")]
    assert len(whole) > 5
    assert {name: matches[name].similarity for name in whole} == {name: near[name] for name in whole}
    assert all(match.similarity <= near[name] for name, match in matches.items())


def test_instances_are_no_kinds() -> None:
    (river,) = match_labels(label_set(body=("stream.n.01",)), keys("jordan.n.01", "niger.n.01"), 0.6)
    assert river.how == "random"


def test_ties_are_averaged_and_listed(checkpoint: Checkpoint) -> None:
    cutlery = label_set(knife=("table_knife.n.01",))
    head = transfer_init(checkpoint, cutlery, min_similarity=0.3)
    assert head.account[0].source_names == ["spoon.n.01", "fork.n.01"]
    assert head.account[0].similarity == pytest.approx(1 / 3)
    rows = checkpoint.tower.linear_head().weight.detach()
    assert torch.allclose(head.weight[0], (rows[4] + rows[5]) / 2)
    assert transfer_init(checkpoint, cutlery).account[0].how == "random"


def test_rows_are_those_of_the_head(checkpoint: Checkpoint) -> None:
    head = transfer_init(checkpoint, replace(TARGET, multi_label=True))
    classifier = checkpoint.tower.linear_head()
    weight, bias = classifier.weight.detach(), classifier.bias.detach()
    at = {row.label: i for i, row in enumerate(head.account)}
    for label, sources in {
        "dog": [0],
        "vehicle": [2, 3],
        "puppy": [0],
        "kitchen_dog": [7, 0],
        "kitchen_algebra": [7],
    }.items():
        assert torch.allclose(head.weight[at[label]], weight[sources].mean(0)), label
        assert torch.allclose(head.bias[at[label]], bias[sources].mean()), label
    assert head.mapped.tolist() == [row.how != "random" for row in head.account]
    assert {row.label: row.shared for row in head.account if row.shared} == {"dog": 1, "puppy": 1}
    assert head.distinct_rows == int(head.mapped.sum()) - 1
    # In another order of words too.
    words = ("kitchen.n.01", "dog.n.01", "truck.n.01")
    turned = transfer_init(checkpoint, label_set(one=words, other=words[::-1]))
    assert [row.shared for row in turned.account] == [1, 1]


def test_softmax_of_independent_log_odds_is_the_chance_of_each_label_alone() -> None:
    """By counting all 2^K sets of labels: what makes a softmax of a sigmoid's logits right."""
    logits = torch.randn(5, generator=torch.Generator().manual_seed(0)).double()
    odds = logits.sigmoid()
    alone = torch.zeros(5).double()
    for present in itertools.product((0, 1), repeat=5):
        chance = math.prod(float(p if here else 1 - p) for p, here in zip(odds, present, strict=True))
        if sum(present) == 1:
            alone[present.index(1)] += chance
    assert torch.allclose(logits.softmax(0), alone / alone.sum())


def test_a_cat_is_a_cat_though_captions_speak_of_dogs(checkpoint: Checkpoint) -> None:
    """Features in which each label adds 2 to its own: log-odds and posterior have a closed form."""
    assert checkpoint.vocabulary is not None
    counts, captions = (4000, 900, 400, 300, 200, 100, 50, 10), 1_000_000
    vocabulary = replace(checkpoint.vocabulary, counts=counts, captions=captions)
    frequency = torch.tensor(counts).double() / captions
    made = tower(len(counts))
    head = made.linear_head()
    with torch.no_grad():
        head.weight.zero_()[:, : len(counts)] = 2 * torch.eye(len(counts))
        head.bias.copy_(frequency.logit() - 2)
    transferred = transfer_init(replace(checkpoint, tower=made, vocabulary=vocabulary), TARGETS)
    # Unit noise around the means 2 e_k, all labels of the target equally frequent.
    images = torch.randn(200, len(counts), generator=torch.Generator().manual_seed(1)).double()
    labels = torch.arange(200) % len(counts)
    images[torch.arange(200), labels] += 2
    posterior = (2 * images - 2).softmax(1)
    logits = images @ transferred.weight[:, : len(counts)].double().T + transferred.bias.double()
    assert torch.allclose(logits.softmax(1), posterior, atol=2e-3)
    # Left as they are, the biases of captions would make dogs of most.
    biased = images @ head.weight[:, : len(counts)].double().T + head.bias.double()
    hits = [float((z.argmax(1) == labels).double().mean()) for z in (logits, biased)]
    assert hits[0] > hits[1] + 0.1


def test_rows_of_imagenets_classes_are_known(tmp_path: Path) -> None:
    """A head of timm's with 1,000 classes, saved by timm: row i is the class of timm's wnid i."""
    torch.manual_seed(0)
    save_for_hf(timm.create_model("test_resnet"), tmp_path / "timm", safe_serialization=True)
    loaded = checkpoints.load(f"timm:local-dir:{tmp_path / 'timm'}")
    assert loaded.vocabulary is None
    head = loaded.tower.linear_head()
    same = transfer_init(loaded, targets.load("imagenet"))
    assert same.counts()["exact"] == 1000
    assert torch.equal(same.weight, head.weight)
    assert torch.equal(same.bias, head.bias)
    wnids = ImageNetInfo("imagenet-1k").label_names()
    result = write_transfer_init(loaded, targets.load("cifar10"), tmp_path / "cifar10")
    rows = {row.label: row for row in result.account}
    weight = timm.create_model(f"local-dir:{result.checkpoint}", pretrained=True).get_classifier().weight
    taken = [wnids.index(key) for key in rows["dog"].sources]
    assert len(taken) > 100
    assert rows["dog"].how == "hyponyms"
    assert torch.allclose(weight[list(rows).index("dog")], head.weight[taken].mean(0), atol=1e-6)
    assert json.loads((tmp_path / "cifar10" / "config.json").read_text())["catlipctl"]["from"] == loaded.name


def test_imagenet_on_thousands_of_real_synsets(shared_data: Path, checkpoint: Checkpoint) -> None:
    """Captions of photographs, all their nouns: rows are counted by what they were made of."""
    assert checkpoint.vocabulary is not None
    extract = CorenetExtractor()
    with gzip.open(shared_data / "captions" / "multi30k-29k.en.txt.gz", "rt", encoding="utf-8") as lines:
        counted = Counter(key for line in lines for key in extract(line))
    keys, counts = zip(*counted.most_common(), strict=True)
    vocabulary = replace(checkpoint.vocabulary, keys=keys, counts=counts, threshold=0)
    head = transfer_init(
        replace(checkpoint, tower=tower(len(keys)), vocabulary=vocabulary), targets.load("imagenet")
    )
    wnids = set(ImageNetInfo("imagenet-1k").label_names())
    assert head.counts()["exact"] == len(wnids & counted.keys()) > 100
    made_of = Counter(tuple(sorted(row.sources)) for row in head.account if row.how != "random")
    assert head.distinct_rows == len(made_of)
    shared = sum(row.shared > 0 for row in head.account)
    assert shared == sum(count for count in made_of.values() if count > 1) > 100
    assert all(row.shared == made_of[tuple(sorted(row.sources))] - 1 for row in head.account if row.sources)


def test_random_rows_are_seeded_and_of_the_heads_scale(checkpoint: Checkpoint) -> None:
    many = LabelSet("many", tuple(Label(f"x{i}", ()) for i in range(500)))
    head = transfer_init(checkpoint, many, seed=3)
    rows = checkpoint.tower.linear_head().weight.detach()
    assert torch.allclose(head.weight.mean(0), rows.mean(0), atol=0.15)
    assert torch.allclose(head.weight.std(0), rows.std(0, correction=0), rtol=0.2)
    assert torch.equal(head.weight, transfer_init(checkpoint, many, seed=3).weight)
    assert not torch.equal(head.weight, transfer_init(checkpoint, many, seed=4).weight)


@pytest.mark.parametrize("mapping", ["heads", "paper"])
@pytest.mark.parametrize("multi_label", [False, True])
def test_the_account_is_the_next_calls_label_set(
    checkpoint: Checkpoint, tmp_path: Path, mapping: Mapping, multi_label: bool
) -> None:
    target = replace(TARGET, multi_label=multi_label)
    out = tmp_path / "first"
    write_transfer_init(checkpoint, target, out, mapping=mapping, head_only=tmp_path / "head.safetensors")
    account = out / "account.csv"
    loaded = targets.load(account)
    assert (loaded.name, loaded.multi_label) == ("first", multi_label)
    again = transfer_init(checkpoint, loaded, mapping=mapping)
    head = load_file(tmp_path / "head.safetensors")
    assert torch.equal(again.weight, head["weight"])
    assert torch.equal(again.bias, head["bias"])

    rows = list(csv.DictReader(account.open(encoding="utf-8")))
    assert rows[1]["source_names"] == {"heads": "truck.n.01 bicycle.n.01", "paper": ""}[mapping]
    rows[0]["synsets"] = "cat.n.01"
    with (tmp_path / "account.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    edited = transfer_init(checkpoint, targets.load(tmp_path / "account.csv"), mapping=mapping)
    assert edited.account[0].source_names == ["cat.n.01"]
    before, after = ([alone(row) for row in head.account] for head in (again, edited))
    assert after[1:] == before[1:]
    assert torch.equal(edited.weight[1:], again.weight[1:])
    assert torch.equal(edited.bias[1:], again.bias[1:])
    assert not torch.equal(edited.weight[0], again.weight[0])


def alone(row: AccountRow) -> AccountRow:
    """How many others have a row depends on them."""
    return row.model_copy(update={"shared": 0})


def test_the_account_marks_what_was_guessed(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text("dog\tn02084071\nheron\ncrane\nstork\n", encoding="utf-8")
    head = transfer_init(checkpoint, targets.load(tmp_path / "mine.tsv"), min_similarity=0.01)
    rows = {row.label: row for row in head.account}
    assert [row.senses for row in head.account] == ["given", "guessed", "guessed", "guessed"]
    assert rows["crane"].synsets == ["crane.n.05"]
    assert rows["crane"].other_senses == ["crane.n.04"]  # the machine; two writers and stars are no kinds
    assert (rows["dog"].other_senses, rows["dog"].how) == ([], "exact")
    assert {row.senses for row in transfer_init(checkpoint, targets.load("cifar10")).account} == {"built-in"}


def test_a_label_set_in_another_order_has_the_same_rows(checkpoint: Checkpoint) -> None:
    order = torch.randperm(len(TARGET), generator=torch.Generator().manual_seed(1)).tolist()
    moved = replace(TARGET, labels=tuple(TARGET.labels[i] for i in order))
    head, other = (transfer_init(checkpoint, target) for target in (TARGET, moved))
    assert torch.equal(other.weight, head.weight[order])
    assert torch.equal(other.bias, head.bias[order])
    assert other.account == [head.account[i] for i in order]


def test_timm_opens_the_tower_with_its_new_head(checkpoint: Checkpoint, tmp_path: Path) -> None:
    result = write_transfer_init(
        checkpoint, TARGET, tmp_path / "out", head_only=tmp_path / "head.safetensors"
    )
    model = timm.create_model(f"local-dir:{result.checkpoint}", pretrained=True).eval()
    assert model.pretrained_cfg["label_names"] == [label.name for label in TARGET.labels]
    images, head = torch.rand(2, 3, 32, 32), load_file(tmp_path / "head.safetensors")
    with torch.no_grad():
        features = checkpoint.tower.features(images)
        assert torch.allclose(model(images), features @ head["weight"].T + head["bias"], atol=1e-4)
    assert sum(result.counts.values()) == len(TARGET) == result.labels


def test_a_head_without_rows_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert checkpoint.vocabulary is not None
    levit = replace(checkpoint, tower=tower(len(checkpoint.vocabulary), "levit_256d", 224))
    with pytest.raises(UsageError, match=r"levit_256d has no linear classifier \(it has NormLinear\)"):
        write_transfer_init(levit, TARGET, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no vocabulary"):
        transfer_init(replace(checkpoint, vocabulary=None, label_names=None), TARGET)
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="exists"):
        write_transfer_init(checkpoint, TARGET, tmp_path / "there")
    assert not list((tmp_path / "there").iterdir())
    sub_words = replace(checkpoint.vocabulary, extractor="subword", keys=tuple("abcdefgh"))
    with pytest.raises(DataError, match="all rows would be random"):
        write_transfer_init(replace(checkpoint, vocabulary=sub_words), TARGET, tmp_path / "random")
    assert not (tmp_path / "random").exists()
