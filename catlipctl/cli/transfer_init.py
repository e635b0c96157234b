"""`catlipctl transfer-init`: a classifier for a target, made from the pre-training head's rows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from catlipctl.cli import completion, inputs
from catlipctl.cli.label_sets import label_set
from catlipctl.cli.options import Checkpoint, CheckpointWord, Json, Mapping, Rows
from catlipctl.cli.output import command
from catlipctl.cli.tables import table

if TYPE_CHECKING:
    from rich.table import Table

    from catlipctl.labels.targets import How
    from catlipctl.transfer import TransferInit

SHOWN_SOURCES = 4
SHOWN_ROWS = 20


def transfer_init(
    target: Annotated[
        str,
        typer.Option(
            metavar="TARGET",
            autocompletion=completion.targets,
            help="A built-in label set (imagenet, places365, ...), a TSV file, a list of names, or an "
            "account.csv.",
            show_default=False,
        ),
    ],
    checkpoint: Checkpoint = None,
    word: CheckpointWord = None,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The checkpoint to write; it may not exist. Default: RUN/transfer/TARGET.",
            show_default=False,
        ),
    ] = None,
    mapping: Mapping = "heads",
    min_similarity: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Least path similarity of a row that is only similar; 0.5 is parent or child."
        ),
    ] = 0.5,
    rows: Rows = "plain",
    multi_label: Annotated[
        bool | None,
        typer.Option(
            "--multi-label/--exclusive",
            help="Whether an image may have several labels of the set. Default: yes for coco and ade20k, "
            "no for the other built-in ones and for files.",
            show_default=False,
        ),
    ] = None,
    head_only: Annotated[
        Path | None,
        typer.Option(help="Also write weight and bias alone to this safetensors file.", show_default=False),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Also write this HTML page: how each label was met, what was missed, guessed or shared, and "
            "the nearest labels. It may not exist.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides the rows of labels that nothing fits.")] = 0,
    json: Json = False,
) -> None:
    """Make a classifier for TARGET from the pre-training head.

    Transfer Init (CatLIP 4.2).
    """
    with command("transfer-init", json=json) as out:
        from catlipctl import checkpoints, files
        from catlipctl.transfer import write_transfer_init

        if report is not None:
            files.refuse_taken(report)
        labelset = label_set(target, out, multi_label=multi_label, mapping=mapping)
        loaded = checkpoints.load(inputs.checkpoint(checkpoint, word, out))
        out.uses("target", target)
        if labelset.multi_label and loaded.problem_type == checkpoints.SINGLE_LABEL:
            out.warn(
                "the head was trained with a softmax, so a sigmoid of its logits is not a probability: "
                "it only ranks images for each label"
            )
        folder = out_dir or files.unused(loaded.run / "transfer" / labelset.name)
        result = write_transfer_init(
            loaded,
            labelset,
            folder,
            min_similarity=min_similarity,
            mapping=mapping,
            rows=rows,
            seed=seed,
            head_only=head_only,
            with_neighbours=report is not None,
        )
        written = [_where(result)]
        if report is not None:
            from catlipctl.reports.mapping import save_mapping

            save_mapping(result, report)
            written.append(f"wrote {report}: open it in a browser")
        if result.head is not None:
            written.append(f"wrote {result.head}: weight and bias alone")
        written.append(f"try it: catlipctl predict IMAGE... --checkpoint {result.checkpoint}")
        out.result(result, _rows(result), _summary(result), *written)


def _where(result: "TransferInit") -> str:
    account = Path(result.checkpoint) / "account.csv"
    return f"wrote {result.checkpoint} ({account}: how each row was made; an edited copy is a --target)"


def _summary(result: "TransferInit") -> "Table":
    meaning: dict[How, str] = {
        "exact": "the label's synset is in the vocabulary",
        "hyponyms": "mean over the vocabulary's kinds of it",
        "similar": f"most similar, path similarity >= {result.min_similarity:g}; mean of ties",
        "averaged": "mean over the label's words, two or more",
        "partial": "mean over those of the label's words that are found; others are missed",
        "random": "nothing fits"
        if result.mapping == "heads"
        else "a word is no noun, or not in the vocabulary",
    }
    summary = table("row", "labels", "")
    for how, count in result.counts.items():
        summary.add_row(how, f"{count:,}", meaning[how])
    summary.add_row(
        "all",
        f"{result.labels:,}",
        f"by {result.distinct_rows:,} distinct rows, random ones aside; {result.rows} ones",
    )
    summary.add_row(
        "shared", f"{result.shared:,}", "have the very row of another label: nothing tells the two apart"
    )
    summary.add_row(
        "guessed", f"{result.guessed:,}", "mean what was guessed: see senses and other_senses in the account"
    )
    return summary


def _rows(result: "TransferInit") -> "Table":
    rows = table("label", "row", "similarity", "from", "shared by")
    order = list(result.counts)
    # The rows that mean something stand first; within a kind they keep the label set's order.
    for row in sorted(result.account, key=lambda row: order.index(row.how))[:SHOWN_ROWS]:
        names = row.source_names[:SHOWN_SOURCES]
        more = len(row.source_names) - len(names)
        taken = ", ".join(names) + (f" and {more} more" if more else "")
        missed = f"; nothing fits {', '.join(row.missed)}" if row.missed and names else ""
        sharers = f"{row.shared:,} more" if row.shared else ""
        rows.add_row(row.label, row.how, f"{row.similarity:.2f}", taken + missed, sharers)
    if result.labels > SHOWN_ROWS:
        rows.add_row("...", "", "", f"{result.labels - SHOWN_ROWS:,} more in account.csv", "")
    return rows
