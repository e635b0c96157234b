"""Zero-shot by a text tower is what open_clip says of the images by itself."""

import csv
import json
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image

from catlipctl import checkpoints, models
from catlipctl.checkpoints import OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS, open_clip_files
from catlipctl.labels.targets import Label, LabelSet
from catlipctl.objectives import OBJECTIVES, Context, Contrastive
from catlipctl.settings.models import ModelSettings, TextSettings
from catlipctl.settings.objectives import ClipSettings, SuperclipSettings
from catlipctl.transfer import evaluate
from catlipctl.transfer.labelled import open_splits
from catlipctl.transfer.probes.text import PROTOCOL, class_names, text_rows

SETTINGS = ClipSettings(embed_dim=16, text=TextSettings(width=24, heads=2, layers=2, context_length=24))


@pytest.mark.parametrize("kind", ["clip", "superclip"])
def test_a_checkpoint_with_a_text_tower_says_what_open_clip_says(
    kind: str, folders: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    settings = SuperclipSettings(**SETTINGS.model_dump()) if kind == "superclip" else SETTINGS
    outputs = OBJECTIVES[kind].head_size(settings, 7)
    made = models.create(ModelSettings(name="resnet10t", image_size=32, crop_pct=1.0), outputs)
    made.module.train()(torch.rand(8, 3, 32, 32))
    objective = OBJECTIVES[kind].build(settings, Context(tower=made, encode=lambda _: [])).eval()
    assert isinstance(objective, Contrastive)
    config, tensors = open_clip_files(objective)
    files, weights = {OPEN_CLIP_CONFIG: json.dumps(config)}, {OPEN_CLIP_WEIGHTS: tensors}
    checkpoints.write(tmp_path / "clip", tower=made, config={}, files=files, tensors=weights)
    found = evaluate(
        checkpoints.load(tmp_path / "clip"),
        *open_splits(str(folders)),
        folders={"zero-shot": tmp_path / "zero-shot"},
    )
    result = found.evaluations["zero-shot"]
    assert (result.protocol, result.train_images, result.prior) == (PROTOCOL, 0, {})

    classes = LabelSet("mine", (Label("cat", ()), Label("dog", ())))
    ours, theirs = (
        text_rows(checkpoints.load(name), classes)
        for name in (tmp_path / "clip", f"open_clip:local-dir:{tmp_path / 'clip'}")
    )
    assert torch.equal(ours, theirs)
    assert ours.std() > 0

    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'clip'}")
    model.eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'clip'}")
    rows = list(csv.DictReader((tmp_path / "zero-shot" / "predictions.csv").open()))
    names = sorted({row["truth"] for row in rows})
    texts = [[say(name) for say in open_clip.OPENAI_IMAGENET_TEMPLATES] for name in names]
    images = torch.stack(
        [preprocess(Image.open(folders / "test" / row["sample"]).convert("RGB")) for row in rows]  # type: ignore[operator]
    )
    with torch.inference_mode():
        means = torch.stack([model.encode_text(tokens(of), normalize=True).mean(0) for of in texts])  # type: ignore[operator]
        cosines = model.encode_image(images, normalize=True) @ torch.nn.functional.normalize(means, dim=1).T  # type: ignore[operator]
    best = cosines.softmax(1).max(1)
    assert [row["predicted"] for row in rows] == [names[i] for i in best.indices]
    assert [float(row["probability"]) for row in rows] == pytest.approx(best.values.tolist(), abs=1e-5)


def test_classes_are_called_as_people_do() -> None:
    named = ("n02012849", "n03126707", "bazaar/indoor", "restaurant_kitchen", "n02084071")
    said = class_names(LabelSet("mine", tuple(Label(name, ()) for name in named)))
    assert said[2:] == ["bazaar", "restaurant kitchen", "dog"]
    assert said[0] != said[1]
    assert all(name.startswith("crane (") for name in said[:2])
