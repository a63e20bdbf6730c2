"""Whether a host answers, asked before libraries that would try for minutes."""

import urllib.error
import urllib.request

WAIT = 10.0  # seconds for an answer


def fault_of(url: str) -> object:
    """Return why the host of an address does not answer within `WAIT`; None if it does."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=WAIT).close()
    except urllib.error.HTTPError:
        return None  # an answer
    except OSError as error:
        return getattr(error, "reason", error)
    return None
