"""Each word of a caption is accounted for."""

from catlipctl import labels
from catlipctl.labels import labelled


def test_every_token_says_why() -> None:
    words = labels.extractor("corenet").explain("Hot dogs beside an automobile")
    assert [(word.token, word.lemma, word.synset, word.kept, word.why) for word in words] == [
        ("hot", "hot", None, False, "not a noun in WordNet"),
        ("dogs", "dog", "dog.n.01", True, "kept"),
        ("beside", "beside", None, False, "not a noun in WordNet"),
        ("an", "an", "associate_in_nursing.n.01", False, "synonym: an.n.01 is associate_in_nursing.n.01"),
        ("automobile", "automobile", "car.n.01", False, "synonym: automobile.n.01 is car.n.01"),
    ]
    assert [words[i].key for i in (0, 1, 4)] == [None, "n02084071", "n02958343"]


def test_a_labelled_caption_keeps_repeats_in_order() -> None:
    caption = labelled("A dog and a cat and a dog", labels.extractor("corenet"))
    assert caption.labels == ["n02084071", "n02121620", "n02084071"]
    assert labelled("", labels.extractor("corenet")).words == []
