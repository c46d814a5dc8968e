"""Take a job, run a model, make the results, hand them to the ledger."""

import os

# TensorFlow reads it when it is imported: its notes on this machine's instructions are no news.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
