"""What a recipe may say of each component, a file a component: pydantic alone.

Nothing here loads torch, so a wrong recipe is refused at once. A key's docstring says what it means; what
stands in square brackets at its end is where its value comes from. `catlipctl recipe keys` prints all of it.
"""

from typing import Annotated

from pydantic import Field

MOST_STEPS = 10**7
"""Of a run, whose table of steps takes 20 bytes each. The longest published run has 200,001."""

Steps = Annotated[int, Field(ge=1, le=MOST_STEPS)]
Images = Annotated[int, Field(ge=1, le=2**20)]
"""Of one step. The largest batch that was ever published has a million (SigLIP)."""
Pixels = Annotated[int, Field(ge=16, le=4096)]
"""Of a side."""
Workers = Annotated[int, Field(ge=0, le=1024)]
"""Each is a process of its own."""
Epochs = Annotated[float, Field(gt=0, le=10**6)]
Rate = Annotated[float, Field(ge=0, le=100)]
"""Of learning."""
