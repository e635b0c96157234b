"""The tables of evaluations: what a classifier is worth on its test images, and how it was made."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from catlipctl.cli.tables import facts, losses, table

CONFUSED_TOLD = 3

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.transfer import (
        AttentiveResult,
        Evaluations,
        FinetuneResult,
        MultiLabelFinetuneResult,
        MultiLabelProbeResult,
        ProbeResult,
    )
    from catlipctl.transfer.features import Extraction
    from catlipctl.transfer.metrics import ConfusedPair

    Evaluated = (
        AttentiveResult | FinetuneResult | MultiLabelFinetuneResult | MultiLabelProbeResult | ProbeResult
    )

INTERVALS = "95 %, bootstrap over the test images"


def fine_tuned(result: "FinetuneResult | MultiLabelFinetuneResult", plot: str | None) -> "Table":
    """Of a fine-tuned classifier."""
    return facts(
        {
            "tower": _control(result),
            **_figures(result),
            "most confused": _confused(result.confused),
            "classes": f"{result.classes:,}",
            "training images": f"{result.train_images:,} ({result.train_size}), {result.steps:,} steps in "
            f"{result.seconds:,.1f} s",
            "test images": f"{result.test_images:,} ({result.split})",
            "left out": f"{result.unreadable:,} unreadable, {result.unlabelled:,} without a label",
            "loss": losses(result.first_loss, result.final_loss),
            "classifier at the start": ", ".join(f"{n} {how}" for how, n in result.prior.items() if n)
            or "random",
            "weights": result.weights,
            "checkpoint": result.checkpoint,
            "plot": plot,
            "protocol": result.protocol,
        }
    )


def probed(result: "ProbeResult | MultiLabelProbeResult") -> "Table":
    """Of a linear probe."""
    return facts(
        {
            "tower": _control(result),
            **_figures(result),
            **_zero_shot(result),
            "most confused": _confused(result.confused),
            "classes": f"{result.classes:,}",
            "training images": f"{result.train_images:,} ({result.train_size})",
            "test images": f"{result.test_images:,} ({result.split})",
            "left out": f"{result.unreadable:,} unreadable, {result.unlabelled:,} without a label",
            "prior": ", ".join(f"{n} {how}" for how, n in result.prior.items() if n) or "none",
            "rows": getattr(result, "rows", None),
            "lambda, s": f"{_number(result.choice.regularisation)}, {result.choice.prior_scale:g}",
            "chosen by": result.choice.how,
            "features": _extracted(result.extraction),
            "solver": f"{result.solver_seconds:,.1f} s",
            "protocol": result.protocol,
        }
    )


def attended(result: "AttentiveResult") -> "Table":
    """Of an attentive probe."""
    return facts(
        {
            "tower": _control(result),
            **_figures(result),
            "most confused": _confused(result.confused),
            "classes": f"{result.classes:,}",
            "training images": f"{result.train_images:,} ({result.train_size})",
            "test images": f"{result.test_images:,} ({result.split})",
            "left out": f"{result.unreadable:,} unreadable, {result.unlabelled:,} without a label",
            "patch features": f"{result.patches:,} an image, {result.feature_bytes / 2**30:,.2f} GiB in all",
            "learning rate": f"{result.learning_rate:g}",
            "chosen by": "held-out cross-entropy"
            if result.held_out
            else "nothing: too few images to hold out",
            "features": _extracted(result.extraction),
            "training": f"{result.solver_seconds:,.1f} s",
            "protocol": result.protocol,
        }
    )


def together(result: "Evaluations") -> "Table":
    """Of several probes of one tower, a line each."""
    from catlipctl.transfer.metrics import Precisions

    numbers = ("top-1 accuracy", "top-5", "mean recall", "macro mAP", "solver")
    made = table("evaluation", *numbers, "protocol", numbers=numbers)
    for name, found in result.evaluations.items():
        if isinstance(found, Precisions):
            figures = ["", "", "", with_interval(found.macro_map, found.macro_map_interval)]
        else:
            first = with_interval(found.acc1, found.acc1_interval)
            figures = [first, f"{found.acc5:.1%}", f"{found.mean_per_class_recall:.1%}", ""]
        made.add_row(name, *figures, f"{found.solver_seconds:,.1f} s", found.protocol)
    return made


def shared(result: "Evaluations") -> "Table":
    """What several probes have in common."""
    from catlipctl.transfer.metrics import Precisions

    found = next(iter(result.evaluations.values()))
    chance = (
        {"macro mAP of chance": f"{found.chance_map:.1%}"}
        if isinstance(found, Precisions)
        else {"share of the largest class": f"{found.majority_share:.1%}"}
    )
    return facts(
        {
            "classes": f"{found.classes:,}",
            "training images": f"{found.train_images:,}",
            "test images": f"{found.test_images:,} ({found.split})",
            "left out": f"{found.unreadable:,} unreadable, {found.unlabelled:,} without a label",
            **chance,
            **_zero_shot_by_class(result),
            "features": _extracted(result.extraction),
            **{f"no {name}": why for name, why in result.left_out.items()},
        }
    )


def _zero_shot_by_class(result: "Evaluations") -> dict[str, str]:
    from catlipctl.transfer.probes.zero_shot import ZeroShotResult

    found = result.evaluations.get("zero-shot")
    if not isinstance(found, ZeroShotResult):
        return {}
    return _by_class(found.exact_acc1, found.rest_acc1, found.exact_classes, found.classes)


def _confused(pairs: "Sequence[ConfusedPair]") -> str:
    told = pairs[:CONFUSED_TOLD]
    return ", ".join(
        f"{pair.truth} taken for {pair.taken_for} ({pair.images:,} of {pair.of:,})" for pair in told
    )


def _extracted(found: "Extraction") -> str:
    rate = f", {found.images / max(found.seconds, 1e-9):,.0f} a second" if found.images else ""
    return (
        f"{found.images:,} images extracted in {found.seconds:,.1f} s{rate}; "
        f"{found.cached:,} were in the cache"
    )


def _by_class(exact: float | None, rest: float | None, exact_classes: int, classes: int) -> dict[str, str]:
    """Zero-shot where the vocabulary has the class itself, and where it has something like it at best."""
    if exact is None or rest is None:
        return {}
    others = classes - exact_classes
    said = f"{exact:.1%} of the {exact_classes:,} exact ones, {rest:.1%} of the other {others:,}"
    return {"zero-shot by class": said}


def _control(result: "Evaluated") -> str | None:
    if not result.random_backbone:
        return None
    return f"untrained, by seed {result.seed}: the control, of which nothing was learned"


def _figures(result: "Evaluated") -> dict[str, str | None]:
    """What it is worth, and what an answer without any knowledge would be."""
    from catlipctl.transfer.metrics import Precisions

    if isinstance(result, Precisions):
        empty = result.empty_classes
        return {
            "labels": f"several an image, {result.labels_per_image:.1f} on average",
            "macro mAP": with_interval(result.macro_map, result.macro_map_interval),
            "micro mAP": with_interval(result.micro_map, result.micro_map_interval),
            "weighted mAP": with_interval(result.weighted_map, result.weighted_map_interval),
            "intervals": INTERVALS,
            "macro mAP of chance": f"{result.chance_map:.1%}",
            "left out of the macro mean": f"{empty} classes without a test image" if empty else None,
        }
    recall, its_interval = result.mean_per_class_recall, result.mean_per_class_recall_interval
    return {
        "top-1 accuracy": with_interval(result.acc1, result.acc1_interval),
        "top-5 accuracy": with_interval(result.acc5, result.acc5_interval),
        "mean recall of the classes": with_interval(recall, its_interval),
        "intervals": INTERVALS,
        "share of the largest class": f"{result.majority_share:.1%}",
    }


def _zero_shot(result: "ProbeResult | MultiLabelProbeResult") -> dict[str, str]:
    from catlipctl.transfer import MultiLabelProbeResult

    if isinstance(result, MultiLabelProbeResult):
        found = result.zero_shot_macro_map
        said = "no mapped head" if found is None else f"{found:.1%} (no image used)"
        return {"zero-shot macro mAP": said}
    if result.zero_shot_acc1 is None:
        return {"zero-shot top-1": "no mapped head"}
    figure = with_interval(result.zero_shot_acc1, result.zero_shot_acc1_interval)
    about = "no label used; centred on the unlabelled training images"
    exact, rest = result.zero_shot_exact_acc1, result.zero_shot_rest_acc1
    return {
        "zero-shot top-1": f"{figure} ({about})",
        **_by_class(exact, rest, result.exact_classes, result.classes),
    }


def with_interval(figure: float, interval: tuple[float, float] | None) -> str:
    low, high = interval or (figure, figure)
    return f"{figure:.1%} [{low:.1%}, {high:.1%}]"


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"
