"""Cards of rule files, changed by hand."""

import hashlib
import json


def edit(path, sign=True, **changes):
    """Change a card, with a new checksum unless `sign` is False."""
    card = {k: v for k, v in (json.loads(path.read_text()) | changes).items() if v is not None}
    if sign:
        rest = {k: v for k, v in card.items() if k != "card_sha256"}
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
        card["card_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(card))
