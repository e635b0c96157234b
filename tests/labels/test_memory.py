"""What extractors remember: each answer asked for once, in bounded memory, the frequent ones for ever."""

from collections import Counter

from catlipctl.labels.memory import LONGEST, Memory


def test_each_answer_is_asked_for_once() -> None:
    asked: Counter[str] = Counter()

    def length(text: str) -> int | None:
        asked[text] += 1
        return len(text) or None

    memory = Memory(length)
    assert [memory[text] for text in ["dog", "a", "", "dog", "", "a"]] == [3, 1, None, 3, None, 1]
    assert asked == {"dog": 1, "a": 1, "": 1}
    assert memory.misses == 3


def test_frequent_texts_stay_among_any_number_of_rare_ones() -> None:
    memory = Memory(str.upper, entries=100)
    for i in range(10_000):
        assert memory[f"rare {i}"] == f"RARE {i}"
        assert memory[f"frequent {i % 50}"] == f"FREQUENT {i % 50}"
        assert len(memory) <= 100
    assert memory.misses == 10_000 + 50
    recent = [f"rare {i}" for i in range(9_960, 10_000)]
    assert [memory[text] for text in recent] == list(map(str.upper, recent))
    assert memory.misses == 10_000 + 50


def test_long_texts_are_answered_and_forgotten() -> None:
    memory = Memory(str.upper)
    for _ in range(2):
        assert memory["x" * LONGEST] == "X" * LONGEST
        assert memory["x" * (LONGEST + 1)] == "X" * (LONGEST + 1)
    assert memory.misses == 3
    assert list(memory) == ["x" * LONGEST]
