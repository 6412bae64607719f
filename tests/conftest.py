"""What all tests share: options, the profile of the property tests, and input that may be absent."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

DEFAULT_COMPARISONS = 2_000
SHARED = Path(__file__).resolve().parents[2] / "shared"

# A property test is bounded by its number of examples. A time limit per example would fail on a busy machine.
# `make test` tries the same examples each time, so that a failure speaks of the change and not of the dice; new ones
# are searched for with `--hypothesis-profile search`, as `make test-slow` does.
_BOUNDED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("remit", _BOUNDED, derandomize=True)
settings.register_profile("search", _BOUNDED, derandomize=False, print_blob=True)
settings.load_profile("remit")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--comparisons N`: how often the boundary's evaluator is compared with its reference."""
    parser.addoption(
        "--comparisons",
        type=int,
        default=DEFAULT_COMPARISONS,
        help="comparisons of the boundary's evaluator with its reference (default %(default)s)",
    )


@pytest.fixture(scope="session")
def comparisons(request: pytest.FixtureRequest) -> int:
    """How many comparisons of the boundary's evaluator with its reference this run makes at least."""
    count: int = request.config.getoption("--comparisons")
    return count


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with recorded telemetry and real connector definitions; the test skips without it."""
    if not SHARED.is_dir():
        pytest.skip("the folder `shared` beside the repository is absent")
    return SHARED
