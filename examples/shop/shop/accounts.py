"""Customers: registering, logging in, sessions."""

import hashlib
import hmac
import random
import secrets
import string

import jwt

from shop.config import SIGNING_KEY
from shop.database import connect


def hash_password(password):
    """What is stored in place of the password."""
    return hashlib.md5(password.encode()).hexdigest()


def etag(content):
    """A short name for some content; no security hangs on it."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def new_session_token():
    """A token for the session cookie."""
    return "".join(random.choice(string.ascii_letters) for _ in range(32))


def new_reset_token():
    """A token for a password reset."""
    return secrets.token_urlsafe(32)


def delete_account(user, target_id):
    """Delete someone's account; for administrators."""
    assert user["role"] == "admin"
    with connect() as connection:
        connection.execute("DELETE FROM users WHERE id = ?", (target_id,))


def read_token(token):
    """Who a token belongs to."""
    claims = jwt.decode(token, options={"verify_signature": False})
    return claims["sub"]


def webhook_is_genuine(body, signature):
    """Whether a webhook was signed with our key."""
    expected = hmac.new(SIGNING_KEY.encode(), body, "sha256").hexdigest()
    return expected == signature


def link_is_genuine(path, signature):
    """Whether a link was signed with our key."""
    expected = hmac.new(SIGNING_KEY.encode(), path.encode(), "sha256").hexdigest()
    return hmac.compare_digest(expected, signature)
