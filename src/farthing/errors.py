"""Everything farthing raises, drawn first.

FarthingError
├── JobError (ValueError)            the job file or the call is wrong: names key, value, what was expected
├── PriceError (ValueError)          a price that cannot be used, or a SKU that no table holds
├── DataError (ValueError)           data that cannot carry the question: empty, one class, NaN, missing column
├── ModelError (RuntimeError)        a model that cannot be read, trusted or run
├── RecipeError (ValueError)         methods in an order that forms or traits forbid
├── BuildError (RuntimeError)        one build failed; inside a search it becomes a `Rejected`
│   ├── BuildTimeout (TimeoutError)  its worker ran past the time limit and was killed
│   ├── BuildOutOfMemory             its worker grew past the memory limit and was killed
│   ├── BuildCrashed                 its worker died
│   └── WrongOutput                  its outputs are not those of the model it came from
├── LoadVoid (RuntimeError)          a load run that says nothing: the generator lagged or offered another rate
├── EndpointError (ConnectionError)  a URL that is none, or where nothing answers as it should
├── TooFewSamples (ValueError)       a percentile that these samples cannot support
├── StoreError (OSError)             a run directory that cannot be written, or is corrupt
├── ArtifactError (ValueError)       an artifact that was changed, is incomplete, or cannot run here
└── MissingExtra (ImportError)       an optional dependency is not installed: names the extra
"""

MORE_TIME = "Is the machine busy? Go on later with --resume, or give more: trial_timeout_s under [budget]"


class FarthingError(Exception):
    """Base of every error that is the user's to mend; a broken invariant of ours is an `assert`."""


class JobError(FarthingError, ValueError):
    pass


class PriceError(FarthingError, ValueError):
    pass


class DataError(FarthingError, ValueError):
    pass


class ModelError(FarthingError, RuntimeError):
    pass


class RecipeError(FarthingError, ValueError):
    pass


class BuildError(FarthingError, RuntimeError):
    pass


class BuildTimeout(BuildError, TimeoutError):
    pass


class BuildOutOfMemory(BuildError, MemoryError):
    pass


class BuildCrashed(BuildError):
    pass


class WrongOutput(BuildError):
    pass


class LoadVoid(FarthingError, RuntimeError):
    pass


class EndpointError(FarthingError, ConnectionError):
    pass


class TooFewSamples(FarthingError, ValueError):
    pass


class StoreError(FarthingError, OSError):
    pass


class ArtifactError(FarthingError, ValueError):
    pass


class MissingExtra(FarthingError, ImportError):
    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed. Run: pip install 'farthing[{extra}]'")
