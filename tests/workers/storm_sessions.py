"""What the session storm calls: each session keeps a secret and counts, in this worker and in the store.

What it finds there that is not its own, it gives back as a leak.
"""

import os

import lair_worker as lair


@lair.command
def visit(secret):
    """[leaks, shared count, local count or null, number, pid]"""
    session = lair.context().session
    leaks = []
    if secret != "secret of " + session.id:
        leaks.append(f"the call of {secret} came to {session.id}")
    shared = session.shared
    found = shared.get("secret")
    if found is None:
        shared["secret"] = secret
    elif found != secret:
        leaks.append(f"shared of {session.id} has {found}")
    count = shared.get("count", 0) + 1
    shared["count"] = count

    own = None
    if session.affinity == "strict":
        local = session.local
        if local.setdefault("secret", secret) != secret:
            leaks.append(f"local of {session.id} has {local['secret']}")
        own = local["count"] = local.get("count", 0) + 1
    return [leaks, count, own, session.number, os.getpid()]
