"""Average precision against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from catlipctl import average_precision


@pytest.mark.parametrize("levels", [3, 1000])
def test_it_is_scikit_learns_with_equal_scores_too(levels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where images count several times or not at all, and however the work is cut into parts."""
    draw = np.random.default_rng(levels)
    scores, positive = draw.integers(0, levels, (40, 9)) / 7, draw.random((40, 9)) < 0.2
    positive[0] = True
    times = draw.integers(0, 3, (5, 40))
    times[:, 0] = 1
    pair = torch.from_numpy(scores), torch.from_numpy(positive)
    theirs = [
        average_precision_score(positive.repeat(one, 0), scores.repeat(one, 0), average=None) for one in times
    ]
    for cells in (1 << 22, 90):
        monkeypatch.setattr(average_precision, "CELLS_AT_ONCE", cells)
        found = average_precision.average_precision(*pair)
        np.testing.assert_allclose(found, average_precision_score(positive, scores, average=None), rtol=1e-12)
        found = average_precision.average_precision(*pair, torch.from_numpy(times))
        np.testing.assert_allclose(found, theirs, rtol=1e-12)
