"""A job module whose import takes for ever, as a large library's may on a busy machine."""

import time

time.sleep(600)
