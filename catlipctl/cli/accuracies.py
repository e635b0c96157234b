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
            **_figures(result),
            "classes": f"{result.classes:,}",
            "training images": f"{result.train_images:,}, {result.steps:,} steps in {result.seconds:,.1f} s",
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
    control = f"untrained, by seed {result.seed}: the control, of which nothing was learned"
    return facts(
        {
            "tower": control if result.random_backbone else None,
            **_figures(result),
            **_zero_shot(result),
            "classes": f"{result.classes:,}",
            "training images": f"{result.train_images:,} ({result.train_size})",
            "test images": f"{result.test_images:,} ({result.split})",
            "left out": f"{result.unreadable:,} unreadable, {result.unlabelled:,} without a label",
            "prior": ", ".join(f"{n} {how}" for how, n in result.prior.items() if n) or "none",
            "rows": getattr(result, "rows", None),
            "lambda, s": f"{_number(result.choice.regularisation)}, {result.choice.prior_scale:g}",
            "chosen by": result.choice.how,
            "protocol": result.protocol,
        }
    )


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
    return {"zero-shot top-1": f"{figure} (no label used; centred on the unlabelled training images)"}


def _with_interval(figure: float, interval: tuple[float, float] | None) -> str:
    low, high = interval or (figure, figure)
    return f"{figure:.1%} [{low:.1%}, {high:.1%}]"


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"
