"""`catlipctl eval lp` with several train sizes, inits or seeds: what is asked for, and the curve as shown."""

from pathlib import Path
from typing import TYPE_CHECKING, get_args

from catlipctl.cli.evaluation.accuracies import with_interval
from catlipctl.cli.evaluation.fine_tuning import TRAINED
from catlipctl.cli.output import Output
from catlipctl.cli.plots import Kinds, save
from catlipctl.cli.tables import facts, table
from catlipctl.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

    from catlipctl.transfer import Curve
    from catlipctl.transfer.probes.linear import Init

FAST = "fast"


def sizes(text: str) -> list[str]:
    """The train sizes of a list, `1%,5/class`, each once; UsageError for what is none."""
    from catlipctl.transfer.labelled import TrainSize

    return list(dict.fromkeys(str(TrainSize.parse(part.strip())) for part in text.split(",")))


def protocols(text: str) -> list[str]:
    """The protocols of a list, each once; UsageError for what is none."""
    found = list(dict.fromkeys(part.strip() for part in text.split(",")))
    known = (FAST, *TRAINED)
    if not set(found) <= set(known):
        raise UsageError(
            f"--protocol {text}: a protocol is one of {', '.join(known)}", "--protocol fast,paper takes both"
        )
    return found


def inits(text: str) -> "list[Init]":
    """The inits of a list, each once; UsageError for what is none."""
    from catlipctl.transfer.probes.linear import Init

    named = list(dict.fromkeys(part.strip() for part in text.split(",")))
    found = [init for part in named for init in get_args(Init) if init == part]
    if len(found) < len(named):
        raise UsageError(f"--init {text}: an init is transfer or random", "--init transfer,random takes both")
    return found


def shown(result: "Curve", plots: Kinds, out: Output) -> "list[Table | str]":
    """The curve's tables, and where it lies, with a plot."""
    # A table a protocol: their accuracies never stand in one column.
    numbers = ("images", "seeds", "top-1 accuracy", "gain over random")
    gains = {(gain.protocol, gain.train_size): gain for gain in result.gains}
    protocols = dict.fromkeys(score.protocol for score in result.by_train_size)
    made = {
        name: table(
            f"{name}: train size" if len(protocols) > 1 else "train size", "init", *numbers, numbers=numbers
        )
        for name in protocols
    }
    for score in result.by_train_size:
        gain = gains.get((score.protocol, score.train_size)) if score.init == "transfer" else None
        made[score.protocol].add_row(
            score.train_size,
            score.init,
            f"{score.train_images:,}",
            str(score.seeds),
            with_interval(score.acc1, score.acc1_interval),
            "" if gain is None else with_interval(gain.gain, gain.gain_interval),
        )
    folder = Path(result.folder)
    rest = {
        "zero-shot top-1": None
        if result.zero_shot_acc1 is None
        else with_interval(result.zero_shot_acc1, result.zero_shot_acc1_interval),
        "share of the largest class": f"{result.majority_share:.1%}",
        "test images": f"{result.test_images:,} ({result.split})",
        "intervals": "95 %, Student's t over the seeds; of zero-shot, bootstrap over the test images",
        "points": f"{len(result.points):,}, of which {result.reused:,} were there",
        "protocol": result.protocol,
    }
    return [*made.values(), facts(rest), f"wrote {folder}", *_plots(result, folder, plots, out)]


def _plots(result: "Curve", folder: Path, plots: Kinds, out: Output) -> list[str]:
    from catlipctl import reports

    drawn = reports.TrainSizes.model_validate(result.model_dump())

    def figure() -> "Figure":
        return reports.train_sizes(
            drawn.by_train_size,
            zero_shot=drawn.zero_shot_acc1,
            chance=drawn.majority_share,
            subtitle=f"{result.inputs.get('checkpoint', '')} on {result.inputs.get('data', '')}",
        )

    return [f"plot: {path}" for path in save({folder / "curve": figure}, plots, out)]
