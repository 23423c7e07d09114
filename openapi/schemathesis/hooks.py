"""What config.toml cannot say: what chance would ask again and again, seven of eight requests do not ask."""

import itertools

import schemathesis

requests = itertools.count()


@schemathesis.hook
def before_call(context, case, kwargs):
    if next(requests) % 8 == 0:
        return
    # The same key with another body is refused; a request that waits takes as long as its run.
    for part, name in [(case.headers, "Idempotency-Key"), (case.query, "wait"), (case.body, "setup_token")]:
        if hasattr(part, "pop") and name in part:
            part.pop(name)
