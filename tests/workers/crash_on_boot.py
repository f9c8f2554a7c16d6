"""Dies at once, with a word on stderr."""

import sys

print("cannot open the database", file=sys.stderr)
sys.exit(3)
