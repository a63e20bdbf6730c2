"""Many small functions, each run once."""

from tests.toy import quick_compilation  # noqa: F401
