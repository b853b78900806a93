"""Proving who one is by a password: throttled per account, so that nobody can guess and nobody can lock others out."""

from __future__ import annotations

from datetime import timedelta

from app.auth.passwords import verify_password
from app.services.rate_limits import Limit, give_back, network_of, refund, take
from app.tenancy.scope import current_scope

ACCOUNT_FROM_NETWORK = Limit("password-account-network", 10, timedelta(minutes=15), platform=True)
"""Few tries from one place: somebody elsewhere who guesses does not keep the person themselves out."""
ACCOUNT = Limit("password-account", 100, timedelta(minutes=15), platform=True)
"""Many tries from many places: enough for their owner's mistakes, far too few to guess."""


async def proves(account: str, stored: str | None, password: str) -> bool:
    """Whether `password` is that of `account`, whose hash is `stored` (None when there is no such account).

    Takes as long either way. Raises RATE_LIMITED after too many wrong ones. A command on the server itself, which
    has no address, is not throttled.
    """
    address = current_scope().address
    if not address:
        return await verify_password(stored, password)
    here = f"{account} {network_of(address)}"
    await take(ACCOUNT_FROM_NETWORK, here)
    taken = await take(ACCOUNT, account)
    right = await verify_password(stored, password)
    if right:
        await give_back(ACCOUNT_FROM_NETWORK, here)
        await refund(ACCOUNT, account, taken)
    return right
