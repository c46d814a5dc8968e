"""Take a job, run a model, make the results, hand them to the ledger."""
