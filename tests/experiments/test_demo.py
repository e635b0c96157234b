"""The demo, on its real data, with a shorter run and a smaller benchmark."""

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from catlipctl import checkpoints, reports
from catlipctl.bench.step import StepSettings
from catlipctl.experiments.demo import demo
from catlipctl.progress import Silent

TINY = {
    "embed_dim": 48,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 16, "width": 32, "heads": 2, "layers": 1},
}


@pytest.mark.slow
def test_the_demo_ends_in_a_page_that_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    settings = StepSettings(
        models=[str(tmp_path / "tiny.json")], batch_sizes=[2], rounds=1, classes=100, memory=False
    )
    run = Path("runs") / "demo"

    class Impatient(Silent):
        """Makes a report of the run before its end, whose page the demo must leave as it is."""

        def note(self, message: str) -> None:
            if message.startswith("5 of 5"):
                reports.report([run])
                early.append((run / "report.html").read_text())

    early: list[str] = []
    result = demo(
        overrides=["length={samples: 2000}", "data.workers=0"], settings=settings, progress=Impatient()
    )
    assert early == [(run / "report.html").read_text()]
    assert Path(result.report) == run / "report-2.html"
    page = Path(result.report).read_text()
    # Gallery, probe, inits; as `catlipctl report` has them: loss, labels, overlap, its costs, mistakes, step.
    assert page.count("<img") == 9
    ids = set(re.findall(r'id="(\w+)"', page))
    for link in re.findall(r'(?:src|srcset|href)="([^"]*)"', page):
        if link.startswith("#"):
            assert link[1:] in ids
        elif not link.startswith("data:"):
            assert (run / unquote(link)).exists(), link
    report = reports.report([run], tmp_path / "again.html")
    assert len(report.results) == 3
    assert {"Pre-training", "Labels from captions", "Overlap with imagenet", "Transfer Init"} <= set(
        report.sections
    )
    assert json.loads((run / "demo.json").read_text())["protocol"] == result.protocol
    assert {probe.images_per_class for probe in result.probes.fitted} == {"1", "5", "20", "all"}
    # At least 7 of the classes have a row of their own synset or of its kinds.
    assert sum(how in ("exact", "hyponyms") for how in result.probes.rows.values()) >= 7
    made = checkpoints.load(result.transfer_init.checkpoint)
    assert made.label_names is not None
    assert len(made.label_names) == 365
