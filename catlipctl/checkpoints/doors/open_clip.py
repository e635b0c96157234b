"""The door to open_clip's models: by name and tag, or by name and a file of weights, in a folder, on the Hub.

The image tower comes under timm's names, its head the projection that texts are compared with. The text tower
comes too where its tokens are CLIP's. Its file is read here: open_clip reads whatever almost fits.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import open_clip
import torch
from open_clip.pretrained import download_pretrained, get_pretrained_cfg
from torch import Tensor

from catlipctl import network
from catlipctl.checkpoints.checkpoint import Checkpoint
from catlipctl.checkpoints.directory import OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS
from catlipctl.checkpoints.doors import HUB, LOCAL
from catlipctl.checkpoints.doors.clip_images import Images, images_of
from catlipctl.checkpoints.doors.fitting import Ignored, Place, Places, fill, fit, made, read_file
from catlipctl.checkpoints.doors.hub_files import fetched
from catlipctl.checkpoints.open_clip import (
    OPEN_CLIP,
    BothTowers,
    ModelConfig,
    OpenClipConfig,
    other_text,
    text_prefix,
)
from catlipctl.errors import CheckpointError
from catlipctl.models.text import text_tower_of

_FILES = (
    OPEN_CLIP_WEIGHTS,
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pt",
)
"""Of weights in a folder; the first that there is."""
_IGNORED = {
    "input_resolution|context_length|vocab_size": "sizes, which OpenAI's files hold beside the weights"
}
_HINT = "check the network, or fetch the weights elsewhere and name them: open_clip:MODEL/FILE"


class Origin(NamedTuple):
    """How a model is made, and what fetches its file of weights."""

    config: OpenClipConfig
    file: Callable[[], str]


def load(name: str, weights: bool) -> Checkpoint:
    """The model MODEL/TAG, MODEL/FILE, `local-dir:FOLDER` or `hf-hub:ORG/NAME`.

    weights: without, the image tower alone, freshly initialised, and nothing but a configuration is fetched.
    Raises MachineError where the network fails; CheckpointError for a model that open_clip does not know, for
    an image tower that timm can't say, and for a file of other keys or shapes.
    """
    spelling = f"open_clip:{name}"
    origin = _origin(name)
    images = images_of(spelling, origin.config)
    about: dict[str, Any] = {"from": spelling}
    both = fitted = None
    if weights:
        file = origin.file()
        found = read_file(file)
        model = origin.config.model_cfg
        places = _places(spelling, model, images, found)
        fitted = fit(file, found, places, _ignored(model))
        about |= fitted.account
        if reason := other_text(model):
            about["text tower"] = f"left out: {reason}"
        else:
            keys = [place.key for place in places.values()]
            both = BothTowers(origin.config, partial(_read_again, file, keys))
    tower = made(spelling, images.settings, images.outputs)
    if fitted:
        fill(tower, images.settled(fitted.tensors, tower.module))
    prepared = origin.config.preprocess_cfg
    # Whatever is not bilinear is bicubic to open_clip.
    interpolation = "bilinear" if prepared.interpolation == "bilinear" else "bicubic"
    tower.module.pretrained_cfg.update(mean=prepared.mean, std=prepared.std, interpolation=interpolation)
    if prepared.resize_mode != "shortest":
        about["images"] = f"resized by the short side and cropped, by open_clip as {prepared.resize_mode!r}"
    tower.module.eval()
    return Checkpoint(path=None, tower=tower, config=about, spelling=spelling, both_towers=both)


def _origin(name: str) -> Origin:
    """What a name means; nothing but a configuration is fetched."""
    if name.startswith(LOCAL):
        folder = Path(name.removeprefix(LOCAL))
        config = OPEN_CLIP.read_json(folder / OPEN_CLIP_CONFIG, OpenClipConfig)
        return Origin(config, lambda: _weights_in(folder))
    if name.startswith(HUB):
        repository = name.removeprefix(HUB)
        path = fetched(repository, OPEN_CLIP_CONFIG)
        if path is None:
            raise CheckpointError(
                f"open_clip:{name} has no {OPEN_CLIP_CONFIG}", "name a model of open_clip's"
            )
        return Origin(OPEN_CLIP.read_json(path, OpenClipConfig), lambda: _weights_of(repository))
    architecture, _, tag = name.partition("/")
    model = open_clip.get_model_config(architecture)
    if model is None or "://" in architecture:
        close = difflib.get_close_matches(architecture, open_clip.list_models(), n=3)
        raise CheckpointError(
            f"open_clip:{name}: open_clip has no model named {architecture!r}",
            f"did you mean {', '.join(close)}?" if close else "see open_clip.list_models() for the names",
        )
    known = get_pretrained_cfg(architecture, tag)
    if not known and not Path(tag).is_file():
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture))
        raise CheckpointError(
            f"open_clip:{name}: {architecture} has no weights {tag!r}, and there is no such file",
            f"its tags are {tags}" if tags else "name a file of weights: open_clip:MODEL/FILE",
        )
    # What a tag was trained with holds, also where the model's name says otherwise.
    model["quick_gelu"] = known.get("quick_gelu", model.get("quick_gelu", False))
    prepared = {
        key: value for key, value in known.items() if key in ("mean", "std", "interpolation", "resize_mode")
    }
    config = OpenClipConfig.model_validate({"model_cfg": model, "preprocess_cfg": prepared})
    return Origin(config, lambda: _downloaded(name, known) if known else tag)


def _weights_in(folder: Path) -> str:
    found = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    return _there(found, str(folder))


def _weights_of(repository: str) -> str:
    return _there(next(filter(None, (fetched(repository, name) for name in _FILES)), None), HUB + repository)


def _there(found: Path | None, place: str) -> str:
    if found is None:
        raise CheckpointError(f"{place} holds no weights of open_clip's", f"put {_FILES[0]} into it")
    return str(found)


def _read_again(file: str, keys: Sequence[str]) -> dict[str, Tensor]:
    """Nobody but who asks for the text tower, or writes both, is to hold the weights twice."""
    found = read_file(file)
    return {key: found[key] for key in keys}


def _downloaded(name: str, known: dict[str, Any]) -> str:
    """The file of a tag."""
    try:
        with network.hub(f"open_clip:{name}", _HINT):
            return download_pretrained(known)
    except (OSError, RuntimeError, ValueError) as error:  # of the Hub, and of open_clip about a wrong hash
        said = str(error).splitlines()[0]
        raise CheckpointError(f"the weights of open_clip:{name} cannot be fetched: {said}", _HINT) from error


def _places(spelling: str, model: ModelConfig, images: Images, found: Mapping[str, Any]) -> Places:
    """Where all parameters of both towers lie in a file, and those of their logits."""
    with torch.device("meta"):
        places = dict(images.places(made(spelling, images.settings, images.outputs).module))
        if not model.text_cfg.get("hf_model_name"):
            prefix = text_prefix(found)
            for key, value in text_tower_of(model.model_dump()).state_dict().items():
                places[f"text {key}"] = Place(prefix + key, tuple(value.shape))
    for key in ("logit_scale", *(["logit_bias"] if model.init_logit_bias is not None else [])):
        # One number, which some write as a list of one.
        one = isinstance(found.get(key), Tensor) and found[key].shape == (1,)
        places[key] = Place(key, (1,) if one else ())
    return places


def _ignored(model: ModelConfig) -> Ignored:
    if model.text_cfg.get("hf_model_name"):
        return {**_IGNORED, r"text\..+": f"the text tower: {other_text(model)}"}
    return _IGNORED
