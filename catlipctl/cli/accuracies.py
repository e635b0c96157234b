"""The tables of evaluations: what a classifier is worth on its test images, and how it was made."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from catlipctl.cli.tables import facts, losses, table

CONFUSED_TOLD = 3

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.transfer import AttentiveResult, Evaluations, FinetuneResult, ProbeResult
    from catlipctl.transfer.features import Extraction
    from catlipctl.transfer.metrics import ConfusedPair


def fine_tuned(result: "FinetuneResult", plot: str | None) -> "Table":
    """Of a fine-tuned classifier."""
    return facts(
        {
            **_accuracies(result),
            "share of the largest class": f"{result.majority_share:.1%}",
            "most confused": _confused(result.confused),
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


def probed(result: "ProbeResult") -> "Table":
    """Of a linear probe."""
    control = f"untrained, by seed {result.seed}: the control, of which nothing was learned"
    return facts(
        {
            "tower": control if result.random_backbone else None,
            **_accuracies(result),
            "zero-shot top-1": "no mapped head"
            if result.zero_shot_acc1 is None
            else with_interval(result.zero_shot_acc1, result.zero_shot_acc1_interval)
            + " (no label used; centred on the unlabelled training images)",
            "share of the largest class": f"{result.majority_share:.1%}",
            "most confused": _confused(result.confused),
            "classes": f"{result.classes:,}",
            "training images": f"{result.train_images:,} ({result.train_size})",
            "test images": f"{result.test_images:,} ({result.split})",
            "left out": f"{result.unreadable:,} unreadable, {result.unlabelled:,} without a label",
            "prior": ", ".join(f"{n} {how}" for how, n in result.prior.items() if n) or "none",
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
            **_accuracies(result),
            "share of the largest class": f"{result.majority_share:.1%}",
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
    numbers = ("top-1 accuracy", "top-5", "mean recall", "solver")
    made = table("evaluation", *numbers, "protocol", numbers=numbers)
    for name, found in result.evaluations.items():
        made.add_row(
            name,
            with_interval(found.acc1, found.acc1_interval),
            f"{found.acc5:.1%}",
            f"{found.mean_per_class_recall:.1%}",
            f"{found.solver_seconds:,.1f} s",
            found.protocol,
        )
    return made


def shared(result: "Evaluations") -> "Table":
    """What several probes have in common."""
    found = next(iter(result.evaluations.values()))
    return facts(
        {
            "classes": f"{found.classes:,}",
            "training images": f"{found.train_images:,}",
            "test images": f"{found.test_images:,} ({found.split})",
            "left out": f"{found.unreadable:,} unreadable, {found.unlabelled:,} without a label",
            "share of the largest class": f"{found.majority_share:.1%}",
            "features": _extracted(result.extraction),
            **{f"no {name}": why for name, why in result.left_out.items()},
        }
    )


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


def _accuracies(result: "ProbeResult | FinetuneResult | AttentiveResult") -> dict[str, str]:
    recall, its_interval = result.mean_per_class_recall, result.mean_per_class_recall_interval
    return {
        "top-1 accuracy": with_interval(result.acc1, result.acc1_interval),
        "top-5 accuracy": with_interval(result.acc5, result.acc5_interval),
        "mean recall of the classes": with_interval(recall, its_interval),
        "intervals": "95 %, bootstrap over the test images",
    }


def with_interval(figure: float, interval: tuple[float, float] | None) -> str:
    low, high = interval or (figure, figure)
    return f"{figure:.1%} [{low:.1%}, {high:.1%}]"


def _number(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"
