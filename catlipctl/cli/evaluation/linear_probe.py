"""`catlipctl eval lp`: a linear classifier on a frozen tower, by the fast protocol, the paper's or MAE's."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from catlipctl.cli import inputs
from catlipctl.cli.evaluation import curves, fine_tuning
from catlipctl.cli.evaluation.accuracies import probed
from catlipctl.cli.evaluation.opening import opened_for
from catlipctl.cli.evaluation.options import Data, RandomBackbone, SetKeys, Target, Test
from catlipctl.cli.options import (
    CacheDir,
    Checkpoint,
    CheckpointWord,
    Gpus,
    ImageKey,
    Json,
    LabelBase,
    LabelKey,
    Mapping,
    MultiLabel,
    NoCache,
    Processes,
)
from catlipctl.cli.output import command, is_main, only_main_speaks
from catlipctl.cli.plots import DEFAULT, Plots
from catlipctl.errors import UsageError


def linear_probe(
    data: Data,
    checkpoint: Checkpoint = None,
    word: CheckpointWord = None,
    test: Test = None,
    target: Target = None,
    protocol: Annotated[
        Literal["fast", "paper", "mae"],
        typer.Option(
            help="fast: features once, and the best regularisation. paper: 30 epochs of augmented passes "
            "(CatLIP Table 7a, recipe in1k-lp). mae: SuperClass's, by LARS (recipe in1k-lp-mae)."
        ),
    ] = "fast",
    train_size: Annotated[
        str, typer.Option(help="Training images used: 5/class, or 10%. Several (1%,10%,100%) give a curve.")
    ] = "100%",
    init: Annotated[
        str | None,
        typer.Option(
            help="transfer: Transfer Init as the prior, its weight tuned. random: none. Or both. Default: "
            "transfer; of --protocol mae random.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=1000, help="Draws of the training images, by --seed and the next ones.")
    ] = 1,
    mapping: Mapping = "heads",
    rows: Annotated[
        Literal["plain", "calibrated"] | None,
        typer.Option(
            help="As in eval zero-shot. Default: calibrated; of --protocol paper they are plain.",
            show_default=False,
        ),
    ] = None,
    random_backbone: RandomBackbone = False,
    seed: Annotated[int, typer.Option(help="Decides splits, subsets and the untrained tower.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images.")] = 0,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The checkpoint to write, with result.json and predictions.csv; it may not exist. Default: "
            "RUN/eval/lp-DATA-N, of the control lp-DATA-untrained-N.",
            show_default=False,
        ),
    ] = None,
    gpus: Gpus = None,
    processes: Processes = None,
    label_key: LabelKey = None,
    label_base: LabelBase = None,
    multi_label: MultiLabel = None,
    image_key: ImageKey = None,
    set_: SetKeys = None,
    cache_dir: CacheDir = None,
    no_cache: NoCache = False,
    plots: Plots = DEFAULT,
    json: Json = False,
) -> None:
    """Fit a linear classifier to frozen features, with Transfer Init as its prior, and test it.

    Several train sizes, inits or seeds give a curve, and no classifier: points that are there are not made
    again.
    """
    with command("eval lp", json=json) as out:
        from catlipctl import transfer
        from catlipctl.data import emoji
        from catlipctl.data.sources.locate import slug
        from catlipctl.pretraining.checks import Place

        sizes, inits = (
            curves.sizes(train_size),
            curves.inits(init or ("random" if protocol == "mae" else "transfer")),
        )
        if target is None and data.startswith(emoji.TRANSFER):
            target = "emoji"
        several = len(sizes) * len(inits) * seeds > 1
        if protocol != "fast":
            if several:
                raise UsageError(
                    f"--protocol {protocol} fits one classifier, and several are asked for",
                    "give one train size, one init and one seed",
                )
            if rows == "calibrated":
                raise UsageError(
                    f"--rows calibrated with --protocol {protocol}",
                    "the paper's protocol copies the head's rows, MAE's takes none",
                )
            named = inputs.checkpoint(checkpoint, word, out)
            only_main_speaks()
            given = {
                "sources": [data, *([test] if test else [])],
                "target": target,
                "checkpoint": named,
                "init": inits[0],
                "mapping": mapping,
                "train_size": train_size,
                "random_backbone": random_backbone,
                "seed": seed,
                "workers": workers,
                "loss": fine_tuning.loss_of(multi_label),
                "label_base": label_base,
            }
            images = fine_tuning.Images(label_key, image_key, cache_dir)
            name = f"lp-{protocol}-{slug(data)}" + ("-untrained" if random_backbone else "")
            place = Place(gpus, processes, out_dir, name, cache_dir=cache_dir)
            further = [] if checkpoint or word else ["--checkpoint", named]
            fine_tuning.probe(out, protocol, given, set_ or [], images, place, plots, further)
            return
        if set_:
            raise UsageError("--set with --protocol fast", "the fast protocol has no recipe to change")
        opened = opened_for(
            out,
            data=data,
            checkpoint=checkpoint,
            word=word,
            test=test,
            target=target,
            mapping=mapping,
            seed=seed,
            workers=workers,
            # A curve goes on in a folder that is there.
            out_dir=None if several else out_dir,
            gpus=gpus,
            processes=processes,
            label_key=label_key,
            label_base=label_base,
            multi_label=multi_label,
            image_key=image_key,
            cache_dir=cache_dir,
            no_cache=no_cache,
            random_backbone=random_backbone,
        )
        shared = {"mapping": mapping, "rows": rows or "calibrated", **opened.options}
        if several:
            curve = transfer.curve(
                opened.checkpoint,
                opened.train,
                opened.test,
                train_sizes=sizes,
                inits=inits,
                seeds=seeds,
                out=out_dir,
                root=opened.checkpoint.run / "eval",
                name=f"curve-{slug(data)}" + ("-untrained" if random_backbone else ""),
                **shared,
            )
            if is_main():
                out.result(curve, *curves.shown(curve, plots, out))
            return
        folder = opened.folder("lp")
        result = transfer.linear_probe(
            opened.checkpoint,
            opened.train,
            opened.test,
            train_size=sizes[0],
            init=inits[0],
            out=folder,
            **shared,
        )
        written = [f"wrote {folder}, with result.json and predictions.csv"]
        if result.checkpoint is not None:
            written.append(fine_tuning.next_step(result.checkpoint))
        out.result(result, probed(result), *written)
