"""What a service says of its own limits, read from its response headers."""

from .family import HeaderFamily
from .header_tally import HeaderStatistics
from .parser import HeaderParser, Headers, parse_headers, statistics
from .reset import MAX_WAIT_S

__all__ = ["MAX_WAIT_S", "HeaderFamily", "HeaderParser", "HeaderStatistics", "Headers", "parse_headers", "statistics"]
