"""The extractor `nouns`: captions read by hand, WordNet's own facts, and what holds for every caption."""

import gzip
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catlipctl import labels
from catlipctl.labels import Extractor, targets, wordnet
from catlipctl.labels.plurals import OWN_MEANING, lemma


@pytest.fixture(scope="module")
def nouns(nltk_data: Path) -> Extractor:
    assert nltk_data
    return labels.extractor("nouns")


# Read with WordNet 3.0 at hand. Synsets are named by their first lemma; `.n.01` is left out.
READ_BY_HAND = [
    # Synonyms are merged, what is no noun is not there, repeats stay.
    ("An automobile and a car", "car car"),
    ("Two dogs and a third dog", "dog dog"),
    ("A photo of a black dog", "photograph dog"),
    ("A bicycle leaning on a red brick wall", "bicycle brick wall"),
    ("Someone is eating a sandwich", "person sandwich"),
    ("beautiful sunset over the ocean", "sunset ocean"),
    # Compounds replace their words.
    ("A man eats a hot dog", "man hotdog"),
    ("two hot dogs and an ice cream cone", "hotdog ice-cream_cone"),
    ("a tiger shark near the sea lions", "tiger_shark sea_lion"),
    ("A shepherd's crook in the living room", "crook.n.03 living_room"),
    ("a great white shark", "great_white_shark"),
    ("a boy in swimming trunks by the swimming pool", "male_child swimming_trunks swimming_pool"),
    ("large body of water", "body_of_water"),
    ("skull and crossbones", "skull_and_crossbones"),
    ("a golden retriever and a German shepherd", "golden_retriever german_shepherd"),
    ("a merry-go-round and a tee-shirt", "merry-go-round jersey.n.03"),
    ("ice_cream, hot-dogs", "ice_cream hotdog"),
    ("a woman in blue jeans and a tank top", "woman jean tank_top"),
    ("the flat-coated retriever", "flat-coated_retriever"),
    # But not across what holds a sentence together.
    ("a man in the street", "man street"),
    ("the street of the city", "street city"),
    ("boys and girls at home", "male_child girl home"),
    ("men riding horses", "man horse"),
    ("a black cat in a yellow jacket", "cat jacket"),
    ("a black bear by a red wall", "asiatic_black_bear wall"),
    ("a worker with a hard hat", "worker hat"),
    ("an old man with a blue flag", "man flag"),
    # Plurals.
    ("Several men and women", "man woman"),
    ("children with mice and oxen", "child mouse ox"),
    ("a smile with white teeth and closed eyes", "smile tooth eye"),
    ("hands and arms and legs", "hand arm leg"),
    ("a man with glasses and shorts", "man spectacles short_pants"),
    ("people on stairs", "people stairs"),
    ("windows of old buildings", "window building"),
    ("dice on data", "die data"),
    ("knives, leaves and wolves", "knife leaf wolf"),
    ("vases with bunches of roses", "vase bunch rose"),
    ("the soles of shoes by the bases of crosses", "sole shoe base cross"),
    # Symbols, units, numbers and function words are no labels.
    ("he put it in a box, i think", "box"),
    ("a b c d e", ""),
    ("an ox watches tv", "ox television"),
    ("it is us", ""),
    ("two three four", ""),
    ("", ""),
    ("...", ""),
]


@pytest.mark.parametrize(("caption", "expected"), READ_BY_HAND)
def test_captions_read_by_hand(nouns: Extractor, caption: str, expected: str) -> None:
    names = [wordnet.nouns().name(key).removesuffix(".n.01") for key in nouns(caption)]
    assert names == expected.split()


def test_a_car_by_any_name(nouns: Extractor) -> None:
    assert nouns("an automobile") == nouns("a car") == nouns("The motorcars") == ["n02958343"]


def test_title_case_and_capitals_change_nothing(nouns: Extractor) -> None:
    caption = "a young woman in a red dress holding two hot dogs near the swimming pool"
    assert nouns(caption) == nouns(caption.title()) == nouns(caption.upper()) != []


def test_the_first_senses_are_those_of_nltk(nltk_data: Path) -> None:
    from nltk.corpus import wordnet as corpus

    assert nltk_data
    first_senses = wordnet.nouns().first_senses()
    assert set(first_senses) == {name.lower() for name in corpus.all_lemma_names("n")}
    for name in list(first_senses)[::40]:
        assert first_senses[name] == f"n{corpus.synsets(name, 'n')[0].offset():08d}"


def test_a_plural_has_the_base_that_nltk_gives(nltk_data: Path) -> None:
    from nltk.stem import WordNetLemmatizer

    assert nltk_data
    graph = wordnet.nouns()
    lemmatizer = WordNetLemmatizer()
    plurals = {f"{word}{end}" for word in graph.words()[::40] for end in ("s", "es")}
    plurals |= {word.replace("man", "men") for word in graph.words() if word.endswith("man")}
    plurals = {plural for plural in plurals if not graph.synsets(plural) and len(graph.bases(plural)) < 2}
    found = [lemma(plural, tagged_plural=True) for plural in sorted(plurals)]
    assert found == [
        base if graph.synsets(base := lemmatizer.lemmatize(p)) else None for p in sorted(plurals)
    ]


@pytest.mark.parametrize("word", sorted(OWN_MEANING))
def test_plurals_with_a_meaning_of_their_own_have_another_base(word: str) -> None:
    assert wordnet.nouns().bases(word)
    assert lemma(word, tagged_plural=True) == lemma(word, tagged_plural=False) == word


@pytest.mark.slow
def test_imagenet_classes_are_reached_by_their_own_names(nouns: Extractor) -> None:
    graph = wordnet.nouns()
    first = reached = 0
    for label in targets.load("imagenet").labels:
        (key,) = label.synsets
        names = graph.lemmas(key)
        first += any(graph.synsets(name)[0] == key for name in names)
        captions = (f"a photo of a {name.replace('_', ' ')}." for name in names)
        reached += any(key in nouns(caption) for caption in captions)
    assert first == 879
    assert reached >= 850


LEMMAS = [lemma for key in wordnet.nouns().keys[::50] for lemma in wordnet.nouns().lemmas(key)]
WORD = st.one_of(
    st.sampled_from(LEMMAS).map(lambda lemma: lemma.replace("_", " ")),
    st.sampled_from(LEMMAS),
    st.sampled_from(
        [
            "a",
            "the",
            "of",
            "in",
            "'s",
            "men",
            "dogs",
            "hot-dogs",
            "ice_cream",
            "riding",
            "1999",
            ".",
            ",",
            "-",
            "_",
            "--",
            "__",
            "it's",
        ]
    ),
    st.builds(str.__add__, st.sampled_from(LEMMAS), st.sampled_from(["s", "es", "men", "'s", "-", "_", "."])),
    st.text(max_size=4),
)


@settings(max_examples=1_500)
@given(words=st.lists(WORD, max_size=10))
def test_every_caption_is_explained_and_within_reach(nouns: Extractor, words: list[str]) -> None:
    caption = " ".join(words)
    keys = nouns(caption)
    assert keys == nouns(caption)
    assert keys == [word.key for word in nouns.explain(caption) if word.kept]
    assert REACH.issuperset(keys)


REACH = labels.extractor("nouns").reach() or frozenset()


def test_a_compound_is_one_word_and_every_word_says_why(nouns: Extractor) -> None:
    words = nouns.explain("He eats hot dogs in km")
    assert [(word.token, word.lemma, word.synset, word.kept, word.why) for word in words] == [
        ("he", "he", None, False, "PRP: not tagged as a noun"),
        ("eats", "eats", None, False, "VBZ: not tagged as a noun"),
        ("hot dogs", "hot_dog", "hotdog.n.01", True, "JJ NNS: kept"),
        ("in", "in", None, False, "IN: not tagged as a noun"),
        ("km", "km", "kilometer.n.01", False, "NN: a symbol or an abbreviation"),
    ]


@pytest.mark.parametrize(
    "caption",
    [
        "\ud800 dog \udfff",
        "dog\x00 \x1b[31m \x85",
        "<" * 100_000 + " dog",
        "dog " * 50_000,
        ". " * 50_000 + "dog",
    ],
    ids=["surrogates", "controls", "brackets", "200 KB", "full stops"],
)
def test_nothing_is_fatal(nouns: Extractor, caption: str) -> None:
    assert set(nouns(caption)) <= {"n02084071"}


def test_the_extractor_travels_to_workers_empty(nouns: Extractor) -> None:
    nouns("a hot dog")
    pickled = pickle.dumps(nouns)
    assert len(pickled) < 200
    copy = pickle.loads(pickled)
    assert (copy.name, copy.version) == (nouns.name, nouns.version)
    assert copy("the men") == nouns("the men") == ["n10287213"]


def test_the_version_names_the_weights(nouns: Extractor) -> None:
    ours, weights = nouns.version.split("-")
    assert ours.isdigit()
    assert len(weights) == 8
    assert int(weights, 16)


@pytest.mark.slow
def test_29000_captions_are_explained_and_within_reach(nouns: Extractor, shared_data: Path) -> None:
    with gzip.open(shared_data / "captions/multi30k-29k.en.txt.gz", "rt", encoding="utf-8") as stream:
        for caption in stream:
            keys = nouns(caption)
            assert REACH.issuperset(keys)
            assert keys == [word.key for word in nouns.explain(caption) if word.kept]
