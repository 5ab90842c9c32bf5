"""Method: weights of few values are stored in one stream of a range coder, and decoded when the model is opened."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from farthing.errors import BuildError
from farthing.methods.base import Family, Method, bytes_are_free
from farthing.results import Profile
from farthing.types import Context, Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeWeights(Method):
    """Stored bits ~= -sum log2 p(code | codes before it), by a range coder (Martin 1979; `constriction`), exact.

    The third stage of Deep Compression (Han et al., arXiv 1510.00149) with arithmetic instead of Huffman codes: a code that is
    nearly sure costs a hundredth of a bit, not one. p adapts by row and column (`forms.coding`), so that zeros need no index
    and no table is sent. Levels, scales, offsets and shapes are in the file; so is the rest of the module, deflated.
    The file is that of the torch form: torch's runtimes decode it once, when they open it. What is converted to another form
    holds the decoded weights; conversions stop `coded`, so that no build is made in which nothing of this is left.
    """

    consumes: ClassVar[frozenset[str]] = frozenset({"torch"})
    needs: ClassVar[frozenset[str]] = frozenset({"packed"})
    adds: ClassVar[frozenset[str]] = frozenset({"coded"})
    family: ClassVar[Family] = "storage"
    changes_answers: ClassVar[bool] = False

    def apply(self, source: Pipeline, directory: Path, context: Context) -> Pipeline:
        from farthing.forms import torch_form
        from farthing.forms.coded import Coded
        from farthing.forms.packed import Packed

        module = torch_form.load(source)
        if not isinstance(module, Packed):
            raise BuildError(
                f"code_weights: the weights of {type(module).__name__} are floats of many values. "
                "Let share_weights or a method of few bits come before it."
            )
        coded = Coded(module.module, module.tensors)
        result = torch_form.derive(coded, source, directory, source.traits - self.drops | self.adds)
        was, now = source.path.stat().st_size, result.path.stat().st_size
        if now >= was:
            raise BuildError(f"code_weights: {now:,} bytes coded, {was:,} before: these weights leave nothing to save")
        return result

    @classmethod
    def propose(cls, profile: Profile) -> tuple[Method, ...] | str:
        return bytes_are_free(profile) or (cls(),)

    def predicted_speedup(self, profile: Profile) -> float:
        return 1.0
