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
        str,
        typer.Option(
            help="fast: features once, and the best regularisation. paper: 30 epochs of augmented passes "
            "(CatLIP Table 7a, recipe in1k-lp). mae: SuperClass's, by LARS (recipe in1k-lp-mae). Several "
            "(fast,paper) draw lines of one curve."
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

        sizes, protocols = curves.sizes(train_size), curves.protocols(protocol)
        inits = curves.inits(init or ("random" if protocols == ["mae"] else "transfer"))
        if target is None and data.startswith(emoji.TRANSFER):
            target = "emoji"
        several = len(sizes) * len(inits) * len(protocols) * seeds > 1
        by_training = [name for name in protocols if name != curves.FAST]
        if set_ and not by_training:
            raise UsageError("--set with --protocol fast", "the fast protocol has no recipe to change")
        if rows == "calibrated" and protocols == by_training:
            raise UsageError(
                f"--rows calibrated with --protocol {protocol}",
                "the paper's protocol copies the head's rows, MAE's takes none",
            )
        recipes = {}
        further: list[str] = []
        if by_training:
            named = inputs.checkpoint(checkpoint, word, out)
            further = [] if checkpoint or word else ["--checkpoint", named]
            checkpoint, word = named, None
            only_main_speaks()
            given = {
                "sources": [data, *([test] if test else [])],
                "target": target,
                "checkpoint": named,
                "mapping": mapping,
                "random_backbone": random_backbone,
                "seed": seed,
                "workers": workers,
                "loss": fine_tuning.loss_of(multi_label),
                "label_base": label_base,
            }
            if not several:
                given |= {"init": inits[0], "train_size": train_size}
            recipes = {name: fine_tuning.probe_recipe(out, name, given, set_ or []) for name in by_training}
        if by_training and not several:
            images = fine_tuning.Images(label_key, image_key, cache_dir)
            folder_name = f"lp-{protocol}-{slug(data)}" + ("-untrained" if random_backbone else "")
            place = Place(gpus, processes, out_dir, folder_name, cache_dir=cache_dir)
            fine_tuning.run(out, recipes[protocol], images, place, plots, further)
            return
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
                recipes={name: loaded.value for name, loaded in recipes.items()},
                fast=curves.FAST in protocols,
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
