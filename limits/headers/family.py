"""The families of rate limit headers that services send."""

from __future__ import annotations

from enum import StrEnum


class HeaderFamily(StrEnum):
    """Who sends headers of this form.

    RETRY_AFTER     `Retry-After`, `retry-after-ms`: RFC 9110, and OpenAI's and Azure's milliseconds
    X_RATELIMIT     `X-RateLimit-*`, `X-Rate-Limit-*`: GitHub, and most who have no standard
    RATELIMIT       `RateLimit-Limit`, `-Remaining`, `-Reset`: the IETF's drafts 0 to 6
    STRUCTURED      `RateLimit`, `RateLimit-Policy`: the IETF's drafts from 7 on
    OPENAI          `x-ratelimit-*-requests`, `x-ratelimit-*-tokens`: OpenAI, Azure, Groq, Mistral, Cerebras
    ANTHROPIC       `anthropic-ratelimit-*`
    """

    RETRY_AFTER = "retry_after"
    X_RATELIMIT = "x_ratelimit"
    RATELIMIT = "ratelimit"
    STRUCTURED = "structured"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"
