from __future__ import annotations

import pytest

from beit_exp.storage.passwords import hide_password, holds_password

SECRET = {
    "https://me:pa55@host/path": "https://me:***@host/path",
    "postgresql://me:pa55@host:5432/db": "postgresql://me:***@host:5432/db",
    "postgresql://me:p@5/5:x@host/db": "postgresql://me:***@host/db",
    "postgresql://me:5432/5@host/db": "postgresql://me:***@host/db",
    "mysql+pymysql://me@tenant:pa55@host/db": "mysql+pymysql://me@tenant:***@host/db",
    "s3://AKIA:ab/cd+ef@bucket/key": "s3://AKIA:***@bucket/key",
    "https://:token@host": "https://:***@host",
    "HTTP://me:pa/55@host": "HTTP://me:***@host",
    "postgresql://host/db?user=me&password=pa55&x=1": (
        "postgresql://host/db?user=me&password=***&x=1"
    ),
    "https://host/a.png?X-Amz-Signature=abc#top": "https://host/a.png?X-Amz-Signature=***#top",
    "failed: 'https://me:pa55@host/api' (try again)": (
        "failed: 'https://me:***@host/api' (try again)"
    ),
}
HARMLESS = (
    "sqlite:////home/me/with:colon/a@b.db",
    "http://host:5000",
    "http://host:5000/a@b",
    "http://[::1]:5000/a@b",
    "https://me@host",
    "postgresql://me@host:5432/db",
    "postgresql://me:***@host/db",
    "s3://bucket/a@b",
    "s3://bucket/a?b=c",
    "mail me@host: now",
    "/data/a:b@c",
)


@pytest.mark.parametrize("text", SECRET)
def test_a_password_of_an_address_is_hidden_wherever_it_stands(text: str) -> None:
    assert hide_password(text) == SECRET[text]
    assert holds_password(text) and not holds_password(SECRET[text])


@pytest.mark.parametrize("text", HARMLESS)
def test_what_holds_no_password_is_left_as_it_is(text: str) -> None:
    assert hide_password(text) == text
