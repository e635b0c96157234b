import json
import sys
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from catlipctl.cli.pretrain import pretrain

app = typer.Typer()
app.command("pretrain")(pretrain)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path / "cwd"


def invoke(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_a_dry_run_shows_its_result_without_data_and_writes_nothing(folder: Path) -> None:
    arguments = ["--data", "nowhere", "--set", "optimiser.lr=1", "--set", "length={steps: 8}"]
    arguments += ["--set", "global_batch_size=10", "--set", "device_batch_size=2", "--processes", "4"]
    code, out, _ = invoke("demo", "--dry-run", "--json", *arguments)
    assert code == 3
    result = json.loads(out)["result"]
    assert [(row["exit_code"], row["elsewhere"]) for row in result["refusals"]] == [(3, False)]
    values = {row["key"]: (row["value"], row["origin"]) for row in result["values"]}
    assert values["data.sources"] == (["nowhere"], "--data")
    assert values["optimiser.lr"] == (1.0, "--set")
    assert values["model.name"][1].endswith("recipes/demo.yaml")
    assert values["optimiser.eps"] == (1e-8, "default")
    assert (result["steps"], result["images"]) == (8, 80)
    assert (result["process_batch"], result["micro_batch"], result["accumulation"]) == (3, 2, 2)
    assert list(folder.iterdir()) == []


def test_another_length_takes_the_place_of_the_recipes() -> None:
    code, out, _ = invoke("demo", "--dry-run", "--json", "--set", "length.steps=7")
    assert code == 0
    assert json.loads(out)["result"]["steps"] == 7


def test_the_cost_of_the_released_vit_is_the_papers_count() -> None:
    code, out, _ = invoke("demo", "--dry-run", "--json", "--set", "model={name: vit_base_catlip_224}")
    assert code == 0
    result = json.loads(out)["result"]
    assert result["vocabulary_size"] is None
    # Reference 2.1: 85.96 M without the head, 104.66 M with 24,320 classes.
    assert result["parameters"] / 1e6 == pytest.approx(85.96, abs=0.005)
    total = result["parameters"] + 24_320 * result["parameters_per_class"]
    assert total / 1e6 == pytest.approx(104.66, abs=0.005)


def test_the_cost_of_superclass_is_its_codes_count_before_anything_is_counted() -> None:
    code, out, _ = invoke("superclass-datacomp-vit-b16-512m", "--dry-run", "--json")
    assert code == 0
    result = json.loads(out)["result"]
    # Reference B4: 123.80 M with 49,408 classes.
    assert result["vocabulary_size"] == 49_408
    assert result["parameters"] / 1e6 == pytest.approx(123.80, abs=0.005)


def test_a_dry_run_warns_of_an_average_too_long_for_the_run() -> None:
    code, _, err = invoke("demo", "--dry-run", "--set", "ema.momentum=5e-4", "--set", "length={steps: 1500}")
    assert code == 0
    assert "after 1,500 steps the EMA still holds 47% of the initial weights" in err
    assert "EMA" not in invoke("demo", "--dry-run", "--set", "ema.momentum=fit")[2]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--data", "x"], 2, "name one of the recipes: catlip-"),
        (["shards.tar"], 2, "quote the pattern"),
        (["demo", "shards.tar"], 2, "quote the pattern"),
        (["dmeo"], 2, "did you mean demo?"),
        (["demo", "--set", "objective=no.such:Objective"], 2, "no.such:Objective cannot be imported"),
        (["demo", "--set", "objective_args={a: 1}"], 2, "objective catlip reads section catlip"),
        (["demo", "--set", "superclass.loss=bce"], 2, "section superclass: the objective is catlip"),
        (["demo", "--set", "optimiser.lrr=1"], 2, "did you mean optimiser.lr?"),
        (["demo", "--set", "length={}"], 2, "give one of samples, epochs and steps"),
        (["demo", "--dry-run", "--set", "optimiser.betas=[0.9, 1]"], 2, "optimiser.betas"),
        (["demo", "--dry-run", "--set", "optimiser.lr=.inf"], 2, "optimiser.lr"),
        (["demo", "--dry-run", "--set", "ema.momentum=1.5"], 2, "ema.momentum"),
        (["demo", "--dry-run", "--set", "objective=clap"], 2, "objective: 'clap' is not one of: catlip"),
        (["demo", "--dry-run", "--set", "vocabulary.extractor=nltk"], 2, "is not one of: corenet"),
        (["demo", "--dry-run", "--set", "model.name=resnet10"], 2, "resnet10t"),
        (
            ["demo", "--dry-run", "--set", "model={name: vit_tiny_patch16_224, model_args: {num_heads: 0}}"],
            2,
            "cannot be made",
        ),
        (["demo", "--dry-run", "--vocab", "shards.tar"], 3, "is not a vocabulary"),
        (["demo", "--data", "nowhere"], 3, "nowhere"),
        (["demo", "--gpus", "4096"], 5, "--gpus 4096"),
        (["demo", "--gpus", "1", "--processes", "2"], 2, "--processes is for CPUs"),
        (["demo", "--gpus", "1", "--processes", "2", "--print-launch"], 2, "--processes is for CPUs"),
        (["demo", "--dry-run", "--print-launch"], 2, "--dry-run and --print-launch together"),
        (["demo", "--nodes", "2"], 2, "--nodes and --master start nothing"),
        (["demo", "--print-launch", "--nodes", "2"], 2, "--nodes without --master"),
        (["demo", "--print-launch", "--nodes", "2", "--master", "head"], 2, "is not HOST:PORT"),
        (["demo", "--out", "shards.tar"], 2, "is a file"),
        (["nosuch/recipe.yaml"], 2, "no recipe"),
        (["."], 2, ". holds no run"),
    ],
)
def test_usage_errors(folder: Path, arguments: list[str], code: int, says: str) -> None:
    (folder / "shards.tar").write_bytes(b"")
    found, out, err = invoke(*arguments, "--json")
    assert found == code
    assert says in err
    assert json.loads(out)["error"]["exit_code"] == code
    assert "Traceback" not in err


def test_print_launch_is_a_command_that_torchrun_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.distributed.run import get_args_parser

    monkeypatch.setattr(sys, "argv", ["catlipctl", "pretrain", "demo", "--processes", "3", "--print-launch"])
    code, out, _ = invoke("demo", "--processes", "3", "--print-launch")
    assert code == 0
    line = "".join(out).split()
    parsed = get_args_parser().parse_args(line[1:])
    assert (line[0], parsed.nproc_per_node, parsed.module) == ("torchrun", "3", True)
    assert parsed.signals_to_handle == "SIGINT,SIGTERM,SIGUSR1,SIGHUP,SIGQUIT"
    assert parsed.training_script == "catlipctl.cli.main"
    assert parsed.training_script_args == ["pretrain", "demo", "--processes", "3"]


def test_the_default_is_one_process_on_this_machine() -> None:
    from catlipctl.training.launch import devices

    assert devices(None, None).processes == 1
    assert devices(None, None).cpu == (torch.cuda.device_count() == 0)
