"""What the host's work is timed on, and that a second pass finds words remembered."""

from catlipctl.bench.comparison import Comparison, Entry
from catlipctl.bench.host import encoders, host_time
from catlipctl.bench.learners import make_objective
from catlipctl.data import emoji
from catlipctl.data.sample import Sample
from catlipctl.labels import extractor
from catlipctl.training.world import World


def test_labels_and_tokens_of_captions_are_timed(tiny: object) -> None:
    captions = list(emoji.captions())[:600]
    encode = encoders(["catlip"], captions, "emoji")
    (ids,) = [encode["catlip"](Sample("", None, ("a dog and a cat",)))]
    assert len(ids) == len(set(extractor("corenet")("a dog and a cat")))
    case, world = Comparison(model=str(tiny), batch_size=2, classes=50), World(cpu=True)
    for name, makes in (("catlip", "labels"), ("clip", "tokens")):
        entry = Entry(name=name, objective=name, context=77 if name == "clip" else None)
        objective = make_objective(entry, case, world, encode.get(name))
        found = host_time(name, objective, captions)
        assert found.makes == makes
        assert 0 < found.again < found.first
