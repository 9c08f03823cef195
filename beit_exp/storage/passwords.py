"""Passwords in addresses: what is kept or shown holds none."""

from __future__ import annotations

import re

HIDDEN = "***"
# `scheme://user:password@`. A password may hold slashes and ats, so it ends at the last at; but of
# http://host:5000/a@b the colon begins a port
IN_FRONT = re.compile(
    r"(https?://[^\s:/?#\[]*:(?!\d+[/?#])|(?!https?:)\b[a-z][\w+.-]*://[^\s:/?#\[]*:)\S*@",
    re.IGNORECASE,
)
# `?password=`, `&sslpassword=`, `&X-Amz-Signature=`, `&access_token=` ...
IN_QUERY = re.compile(
    r"([?&;][\w.-]*(?:password|passwd|pwd|secret|token|signature|credential|\bsig)=)"
    r"""[^&;\s#'"]+""",
    re.IGNORECASE,
)


def hide_password(text: str) -> str:
    """The text with `***` for every password of an address in it."""
    return IN_QUERY.sub(rf"\1{HIDDEN}", IN_FRONT.sub(rf"\1{HIDDEN}@", text))


def holds_password(text: str) -> bool:
    """Whether an address in the text holds a password that is not hidden."""
    return hide_password(text) != text
