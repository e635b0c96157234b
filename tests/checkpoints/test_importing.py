"""What others trained becomes a checkpoint of ours: one that all commands read, with what is known of it."""

import json
import pickle
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from catlipctl import checkpoints
from catlipctl.checkpoints import import_checkpoint
from catlipctl.errors import CheckpointError, DataError, UsageError
from catlipctl.labels import targets, wordnet
from catlipctl.transfer import write_transfer_init

NAMES = ("dog", "cat", "horse", "ship", "truck")


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A classifier of five classes in CoreNet's layout, as small as its code makes one."""
    width, stem = 64, 32
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed.pos_embed.pos_embed": (1, 1, 196, width),
        "patch_emb.0.block.conv.weight": (stem, 3, 4, 4),
        "patch_emb.1.block.conv.weight": (stem, stem, 2, 2),
        "patch_emb.2.block.conv.weight": (width, stem, 2, 2),
        "patch_emb.2.block.conv.bias": (width,),
        "neural_augmentor.noise._low": (),
    }
    for i in (0, 1):
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"patch_emb.{i}.block.norm.{name}"] = (stem,)
        shapes[f"patch_emb.{i}.block.norm.num_batches_tracked"] = ()
    for name, shape in {
        "transformer.0.pre_norm_mha.0": (width,),
        "transformer.0.pre_norm_mha.1.qkv_proj": (3 * width, width),
        "transformer.0.pre_norm_mha.1.out_proj_attn": (width, width),
        "transformer.0.pre_norm_ffn.0": (width,),
        "transformer.0.pre_norm_ffn.1": (4 * width, width),
        "transformer.0.pre_norm_ffn.4": (width, 4 * width),
        "post_transformer_norm": (width,),
        "classifier": (5, width),
    }.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    torch.manual_seed(0)
    torch.save({key: torch.rand(shape) / 4 for key, shape in shapes.items()}, tmp_path / "vit_base.pt")
    return tmp_path / "vit_base.pt"


def vocabulary_file(folder: Path, extra: int = 0) -> Path:
    """The pickle, as CatLIP's code writes it: keys without padding, the most frequent first."""
    keys = [wordnet.nouns().key_of(f"{name}.n.01") for name in (*NAMES, "tree", "house")[: 5 + extra]]
    rows = {f"n{int(str(key)[1:])}": 100 - i for i, key in enumerate(keys)}
    (folder / "vocab.pkl").write_bytes(pickle.dumps(rows))
    return folder / "vocab.pkl"


def test_a_released_classifier_with_its_vocabulary_serves_transfer_init(
    released: Path, tmp_path: Path
) -> None:
    result = import_checkpoint(f"corenet:{released}", tmp_path / "ours", vocabulary_file(tmp_path, extra=2))
    checkpoints.verify(tmp_path / "ours")
    loaded = checkpoints.load(tmp_path / "ours")
    assert loaded.vocabulary is not None
    assert loaded.vocabulary.descriptions() == list(NAMES)
    assert loaded.problem_type == checkpoints.MULTI_LABEL
    assert loaded.config["from"] == f"corenet:{released}"
    assert (result.transfer_init, result.remarks) == (True, [])
    assert result.ignored == ["RangeAugment's ranges, which only training uses (1)"]
    # The rows of Transfer Init are the released classifier's.
    rows = torch.load(released, weights_only=True)["classifier.weight"]
    initialised = write_transfer_init(loaded, targets.load("cifar10"), tmp_path / "cifar10")
    assert initialised.counts["exact"] == 5
    head = checkpoints.load(tmp_path / "cifar10").tower.linear_head()
    labels = [label.name for label in targets.load("cifar10").labels]
    for name in NAMES:
        assert torch.equal(head.weight[labels.index(name)], rows[NAMES.index(name)])
    # What was written can name the classes of another file of the same ones.
    again = import_checkpoint(
        f"corenet:{released}", tmp_path / "again", tmp_path / "ours" / "vocabulary.json"
    )
    assert again.transfer_init


def test_without_a_vocabulary_it_is_random_init_only(released: Path, tmp_path: Path) -> None:
    result = import_checkpoint(f"corenet:{released}", tmp_path / "ours")
    assert not result.transfer_init
    assert result.remarks[0].startswith("Random Init only: nothing says which synsets")
    with pytest.raises(CheckpointError, match="Random Init only"):
        write_transfer_init(checkpoints.load(tmp_path / "ours"), targets.load("cifar10"), tmp_path / "head")
    dense = {
        f"encoder.{key}": value
        for key, value in torch.load(released, weights_only=True).items()
        if not key.startswith(("classifier", "cls_token"))
    }
    torch.save(dense, tmp_path / "deeplabv3.pt")
    result = import_checkpoint(f"corenet:{tmp_path / 'deeplabv3.pt'}", tmp_path / "dense")
    assert (result.classes, result.remarks[0][:29]) == (0, "Random Init only: it has no h")
    assert checkpoints.inspect(tmp_path / "dense").features == 64
    with pytest.raises(CheckpointError, match="has no head for a vocabulary"):
        import_checkpoint(
            f"corenet:{tmp_path / 'deeplabv3.pt'}", tmp_path / "more", vocabulary_file(tmp_path)
        )


def test_a_vocabulary_that_does_not_fit(released: Path, tmp_path: Path) -> None:
    spec, out = f"corenet:{released}", tmp_path / "ours"
    (tmp_path / "short.pkl").write_bytes(pickle.dumps({"n2084071": 3}))
    with pytest.raises(CheckpointError, match=r"has 5 classes, and .*short.pkl 1 keys"):
        import_checkpoint(spec, out, tmp_path / "short.pkl")
    (tmp_path / "code.pkl").write_bytes(pickle.dumps(print))
    with pytest.raises(DataError, match="asks for code to be run"):
        import_checkpoint(spec, out, tmp_path / "code.pkl")
    assert not out.exists()
    for named in (str(released), "runs/demo"):
        with pytest.raises(UsageError, match="does not say what wrote it"):
            import_checkpoint(named, out)
    out.mkdir()
    with pytest.raises(UsageError, match="exists"):
        import_checkpoint(spec, out)


def test_both_towers_of_open_clip_stay_together(tmp_path: Path) -> None:
    text = {"context_length": 9, "width": 64, "heads": 1, "layers": 1}
    vision = {"image_size": 32, "patch_size": 16, "layers": 1, "width": 64}
    config = {"model_cfg": {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}}
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    result = import_checkpoint(f"hf-hub:{folder}", tmp_path / "ours")
    assert (result.text_tower, result.keys) == (True, len(model.state_dict()))

    images, captions = torch.randn(2, 3, 32, 32), ["a dog", "the sea"]
    again = open_clip.create_model(f"local-dir:{tmp_path / 'ours'}").eval()
    loaded = checkpoints.load(tmp_path / "ours")
    assert loaded.both_towers is not None
    tower = loaded.both_towers.text_tower()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(captions)
    with torch.no_grad():
        expected = [model.encode_image(images), model.encode_text(tokens)]
        assert torch.equal(again.encode_image(images), expected[0])
        assert torch.equal(again.encode_text(tokens), expected[1])
        found = [loaded.tower.module(images), tower.features(captions)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(F.normalize(ours, dim=-1), F.normalize(theirs, dim=-1))
    (tmp_path / "ours" / "open_clip_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoints.load(tmp_path / "ours").both_towers.text_tower()  # type: ignore[union-attr]
