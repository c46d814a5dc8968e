"""Where the campaign ends processes: every ``faults.point`` of the product, by who passes it."""

LARGE_ONLY = ("incoming.spilled", "pack.begun", "pack.sealed")
"""Each large instance has a pack of its own."""
OS = (
    "door.received", "door.checked", "door.answered", "incoming.spilled", "pack.begun",
    "pack.appended", "pack.sealed", "pack.recovered", "recorder.recording", "recorder.recorded",
    "recorder.settled", "ledger.committing", "ledger.committed",
)  # fmt: skip
DURABLE = (*OS, "door.answering", "pack.syncing", "pack.synced", "spool.handed_over")
LIBRARY = ("door.received", "door.checked", "incoming.spilled", "pack.appended", "pack.synced",
           "spool.handed_over", "door.answering")  # fmt: skip
"""What lies behind these is one for both doors."""
MIGRATION = ("ledger.migrated", "ledger.committing", "ledger.committed")
KEPT = ("store.written", "store.kept")
FREEING = "sweep.freeing"
SWEEP = ("sweep.routed", "sweep.closed", "sweep.ringing", "sweep.rung", "ledger.committing",
         "ledger.committed")  # fmt: skip
REMOVAL = ("retention.removing", "ledger.committing", "ledger.committed", "retention.removed",
           "erase.erased", "ledger.committing:2", "erase.unlinked", "orphan.aside",
           "erase.deleted")  # fmt: skip
"""Of one study: the ledger's part, then that of its bytes."""
WORKER = ("worker.claimed", "worker.analysed", *KEPT, "ship.claimed", "ship.answered",
          "ship.settled", "ledger.committing:3", "ledger.committed:3")  # fmt: skip
PROVE = (("prove.claimed", "COMMITMENT"), ("prove.asking", "COMMITMENT"),
         ("prove.asked", "COMMITMENT"), ("prove.looked", "QUERY"))  # fmt: skip
REPORT = "report.taken"
ALL = {
    point.partition(":")[0]
    for point in (
        *DURABLE, *MIGRATION, *KEPT, FREEING, *SWEEP, *WORKER, *REMOVAL, REPORT,
        *(p for p, _ in PROVE)
    )
}  # fmt: skip
