"""What Headrace is measured against. Frozen: a change here voids every older figure."""
