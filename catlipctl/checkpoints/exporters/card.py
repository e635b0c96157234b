"""The model card of an export, in the Hub's form: what the checkpoint and its run say, and no more."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCardData
from pydantic import RootModel

import catlipctl
from catlipctl.checkpoints.checkpoint import Checkpoint
from catlipctl.errors import CatlipctlError, DataError
from catlipctl.files import FileKind, encodable
from catlipctl.printable import one_line

LABELS_SHOWN = 20
_RESULT = FileKind("an evaluation's result", 2**28, DataError, "")
_HUB = re.compile(r"hf:([\w.-]+/[\w.-]+)")


class _Document(RootModel[dict[str, Any]]):
    """A JSON object."""


def model_card(checkpoint: Checkpoint, remarks: Sequence[str]) -> str:
    """The text of README.md. remarks: what the folder's user has to know, one sentence each."""
    parts = [
        f"---\n{_metadata(checkpoint)}\n---",
        f"# {checkpoint.tower.name}, by catlipctl",
        _bullets(_facts(checkpoint)),
        *remarks,
        "No licence is stated: neither the checkpoint nor its run names one.",
        "## Use",
        _use(checkpoint),
        "## Images",
        _bullets(_preprocessing(checkpoint)),
        *_labels(checkpoint),
        "## How it was made",
        _bullets(_made(checkpoint)),
        *_recipe(checkpoint),
        "## Evaluations",
        _evaluations(checkpoint),
    ]
    return encodable("\n\n".join(parts)) + "\n"


def _metadata(checkpoint: Checkpoint) -> str:
    found = [match[1] for source in _sources(checkpoint) if (match := _HUB.match(source))]
    task = "image-classification" if checkpoint.tower.num_classes else "image-feature-extraction"
    tags = [task, "timm", "catlipctl"]
    if (objective := checkpoint.config.get("objective")) is not None:
        tags.append(str(objective))
    data = ModelCardData(library_name="timm", pipeline_tag=task, tags=tags, datasets=found or None)
    return data.to_yaml()


def _facts(checkpoint: Checkpoint) -> dict[str, object]:
    parameters = sum(parameter.numel() for parameter in checkpoint.tower.module.parameters())
    classes = checkpoint.tower.num_classes
    meaning = {
        "softmax": "exclude each other: a softmax over the logits gives probabilities",
        "sigmoid": "may be several in an image: a sigmoid of each logit gives its probability",
    }
    return {
        "Architecture": f"`{checkpoint.tower.name}`",
        "Parameters": f"{parameters:,}",
        "Image size": f"{checkpoint.tower.preprocessing.size} px",
        "Labels": f"{classes:,}, which {meaning[checkpoint.activation]}" if classes else "none: no head",
    }


def _use(checkpoint: Checkpoint) -> str:
    foreign = not type(checkpoint.tower.module).__module__.startswith("timm.")
    lines = [
        "```python",
        "import timm, torch",
        *["import catlipctl.models"] * foreign,
        "from PIL import Image",
        "",
        'model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # or hf-hub:ORG/NAME',
        "data = timm.data.resolve_model_data_config(model)",
        "transform = timm.data.create_transform(**data, is_training=False)",
        "with torch.no_grad():",
        '    output = model(transform(Image.open("photo.jpg").convert("RGB"))[None])',
    ]
    if checkpoint.tower.num_classes:
        shown = f"{checkpoint.activation}({'1' if checkpoint.activation == 'softmax' else ''})"
        lines.append(f"probabilities = output.{shown}")
    return "\n".join([*lines, "```"])


def _preprocessing(checkpoint: Checkpoint) -> dict[str, object]:
    expects = checkpoint.tower.preprocessing
    return {
        "Colours": "RGB, scaled to 0 to 1",
        "Resize": f"short side to {expects.resized(expects.size)} px, {expects.interpolation}",
        "Crop": f"{expects.size} x {expects.size} px at the centre",
        "Mean": ", ".join(f"{value:g}" for value in expects.mean),
        "Standard deviation": ", ".join(f"{value:g}" for value in expects.std),
    }


def _labels(checkpoint: Checkpoint) -> Iterator[str]:
    names = checkpoint.label_names
    if not checkpoint.tower.num_classes:
        return
    yield "## Labels"
    if names is None:
        yield "The checkpoint does not name its classes."
        return
    words = checkpoint.label_descriptions
    shown = [
        f"{_said(name)} ({_said(words[name])})" if words.get(name) else _said(name)
        for name in names[:LABELS_SHOWN]
    ]
    rest = f", and {len(names) - len(shown):,} more" if len(names) > len(shown) else ""
    yield f"{', '.join(shown)}{rest}. All are in `config.json`: `label_names`, in the order of the logits."
    if (vocabulary := checkpoint.vocabulary) is not None:
        yield (
            f"They are the vocabulary that {vocabulary.extractor} {vocabulary.extractor_version} made of "
            f"{vocabulary.captions:,} captions of `{_said(vocabulary.source)}`."
        )


def _made(checkpoint: Checkpoint) -> dict[str, object]:
    """The checkpoint's own section, without what is a document; its recipe stands below."""
    plain = {
        name.replace("_", " ").capitalize(): _said(value)
        for name, value in checkpoint.config.items()
        if isinstance(value, str | int | float)
    }
    trained = ", ".join(f"`{_said(source)}`" for source in _sources(checkpoint))
    return {
        "Checkpoint": f"`{_said(checkpoint.name)}`",
        **plain,
        "Trained on": trained or "not stated in the checkpoint",
        "Written by": f"catlipctl {catlipctl.__version__}",
    }


def _recipe(checkpoint: Checkpoint) -> Iterator[str]:
    recipe = checkpoint.config.get("recipe")
    if isinstance(recipe, Mapping) and recipe:
        text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True).strip()
        yield f"The recipe, every value of it:\n\n```yaml\n{text.replace('```', '')}\n```"


def _sources(checkpoint: Checkpoint) -> list[str]:
    """The SOURCEs that the recipe names, as it names them."""
    recipe = checkpoint.config.get("recipe")
    if not isinstance(recipe, Mapping):
        return []
    data = recipe.get("data")  # of pre-training; a fine-tuning's stand in the recipe itself
    named = (data if isinstance(data, Mapping) else recipe).get("sources")
    return [str(source) for source in named] if isinstance(named, list) else []


def _evaluations(checkpoint: Checkpoint) -> str:
    rows = [row for path in _results(checkpoint) for row in _figures(checkpoint, path)]
    if not rows:
        return "None was found beside the checkpoint or under its run."
    head = "| data | protocol | figure | value | 95 % interval |\n|---|---|---|---|---|"
    return "\n".join([head, *(f"| {' | '.join(row)} |" for row in rows)])


def _results(checkpoint: Checkpoint) -> list[Path]:
    """Result files beside the checkpoint, in its run, and under that."""
    if checkpoint.path is None:
        return []
    run = checkpoint.run
    beside = [checkpoint.path / "result.json"]
    if checkpoint.path.parent.name == "checkpoints":
        beside += [run / "result.json", *sorted(run.glob("eval/*/result.json"))]
    return [path for path in beside if path.is_file()]


def _figures(checkpoint: Checkpoint, path: Path) -> Iterator[tuple[str, ...]]:
    """A row for each figure of one evaluation of this very checkpoint: what has an interval beside it."""
    try:
        found = _RESULT.read_json(path, _Document).root
    except CatlipctlError:
        return
    assert checkpoint.path is not None
    # A probe's own folder holds its classifier's figures, as a fine-tuning's run does; under `eval/` are
    # those of the tower that they began with.
    under = path.parent.parent.name == "eval" and path.parent not in (checkpoint.path, checkpoint.run)
    of = _at(found, "inputs", "checkpoint") if under else _at(found, "checkpoint")
    own = path.parent == checkpoint.path or Path(str(of)).name == checkpoint.path.name
    if found.get("random_backbone") or not own:
        return
    source = _at(found, "data", "test", "source")
    for name in [name.removesuffix("_interval") for name in found if name.endswith("_interval")]:
        value, interval = found.get(name), found[f"{name}_interval"]
        if isinstance(value, float | int):
            low_high = " to ".join(f"{end:.4f}" for end in interval) if interval else ""
            about = (_said(source), _said(found.get("protocol", "")), _said(name))
            yield (*about, f"{value:.4f}", low_high)


def _at(document: Any, *names: str) -> Any:
    """What lies inside a JSON document, '' where nothing does."""
    for name in names:
        document = document.get(name, "") if isinstance(document, dict) else ""
    return document


def _bullets(values: Mapping[str, object]) -> str:
    return "\n".join(f"- **{name}:** {value}" for name, value in values.items())


def _said(value: object) -> str:
    """A text that keeps its line, and a table its cells."""
    return one_line(str(value)).replace("|", r"\|")
