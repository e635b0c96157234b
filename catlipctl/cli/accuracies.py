"""The tables of evaluations: what a classifier is worth on its test images, and how it was made."""

from typing import TYPE_CHECKING

from catlipctl.cli.tables import facts, losses

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.transfer import (
        FinetuneResult,
        MultiLabelFinetuneResult,
        MultiLabelProbeResult,
        ProbeResult,
    )

    Evaluated = FinetuneResult | MultiLabelFinetuneResult | MultiLabelProbeResult | ProbeResult

INTERVALS = "95 %, bootstrap over the test images"


def fine_tuned(result: "FinetuneResult | MultiLabelFinetuneResult", plot: str | None) -> "Table":
    """Of a fine-tuned classifier."""
    return facts(
        {
            "tower": _control(result),
            **_figures(result),
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
            "classes": f"{result.classes:,}",
            "training images": f"{result.train_images:,} ({result.train_size})",
            "test images": f"{result.test_images:,} ({result.split})",
            "left out": f"{result.unreadable:,} unreadable, {result.unlabelled:,} without a label",
            "prior": ", ".join(f"{n} {how}" for how, n in result.prior.items() if n) or "none",
            "lambda, s": f"{_number(result.choice.regularisation)}, {result.choice.prior_scale:g}",
            "chosen by": result.choice.how,
            "protocol": result.protocol,
        }
    )


def _by_class(result: "ProbeResult") -> dict[str, str]:
    """Zero-shot where the vocabulary has the class itself, and where it has something like it at best."""
    exact, rest = result.zero_shot_exact_acc1, result.zero_shot_rest_acc1
    if exact is None or rest is None:
        return {}
    others = result.classes - result.exact_classes
    said = f"{exact:.1%} of the {result.exact_classes:,} exact ones, {rest:.1%} of the other {others:,}"
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
            "macro mAP": _with_interval(result.macro_map, result.macro_map_interval),
            "micro mAP": _with_interval(result.micro_map, result.micro_map_interval),
            "weighted mAP": _with_interval(result.weighted_map, result.weighted_map_interval),
            "intervals": INTERVALS,
            "macro mAP of chance": f"{result.chance_map:.1%}",
            "left out of the macro mean": f"{empty} classes without a test image" if empty else None,
        }
    recall, its_interval = result.mean_per_class_recall, result.mean_per_class_recall_interval
    return {
        "top-1 accuracy": _with_interval(result.acc1, result.acc1_interval),
        "top-5 accuracy": _with_interval(result.acc5, result.acc5_interval),
        "mean recall of the classes": _with_interval(recall, its_interval),
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
    figure = _with_interval(result.zero_shot_acc1, result.zero_shot_acc1_interval)
    about = "no label used; centred on the unlabelled training images"
    return {"zero-shot top-1": f"{figure} ({about})", **_by_class(result)}


def _with_interval(figure: float, interval: tuple[float, float] | None) -> str:
    low, high = interval or (figure, figure)
    return f"{figure:.1%} [{low:.1%}, {high:.1%}]"


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"
