"""The tables of the ledger. Times are seconds since the epoch, UTC; nothing compares them to decide
whether a claim is dead or a study quiet: the sweep watches ``beat`` and ``arrivals`` for that."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
    true,
)

REVISION = "0004"
"""The Alembic revision that this code reads and writes."""

UID = String(64)
SHA256 = String(64)
NAME = String(64)
REASON = String(64)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

study = Table(
    "study",
    metadata,
    Column("study_instance_uid", UID, primary_key=True),
    Column("state", String(16), nullable=False, index=True),
    Column("reason", REASON, nullable=False),
    Column("arrivals", Integer, nullable=False),  # instances recorded so far
    Column("generation", Integer, nullable=False),  # closings that opened jobs
    Column("first_received_at", Float, nullable=False),
    Column("last_received_at", Float, nullable=False, index=True),
    Column("attributes", JSON, nullable=False),  # what the pages show, from the headers
)

series = Table(
    "series",
    metadata,
    Column("study_instance_uid", UID, ForeignKey(study.c.study_instance_uid), primary_key=True),
    Column("series_instance_uid", UID, primary_key=True),
    Column("attributes", JSON, nullable=False),  # what routing saw at the last closing
)

instance = Table(
    "instance",
    metadata,
    Column("sop_instance_uid", UID, primary_key=True),
    Column("sha256", SHA256, primary_key=True),
    Column("study_instance_uid", UID, nullable=False, index=True),
    Column("series_instance_uid", UID, nullable=False),
    Column("sop_class_uid", UID, nullable=False),
    Column("transfer_syntax_uid", UID, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("pack", String(64), nullable=False),  # of the store; empty: a file of its own
    Column("pack_offset", BigInteger, nullable=False),
    Column("calling_ae", String(16), nullable=False),
    Column("received_at", Float, nullable=False),
    Index(
        "ix_instance_sha256",
        "sha256",
        sqlite_where=text("pack = ''"),
        postgresql_where=text("pack = ''"),
    ),
)

expectation = Table(
    "expectation",
    metadata,
    Column("source", String(8), primary_key=True),  # MPPS, IAN, FIND
    Column("notice_uid", UID, primary_key=True),  # of the MPPS or IAN; FIND: of the study
    Column("study_instance_uid", UID, nullable=False, index=True),  # no key: it may come first
    Column("instances", JSON, nullable=False),  # SOP Instance UIDs; FIND: none
    Column("images", Integer, nullable=False),  # how many are announced
    Column("final", Boolean, nullable=False),  # MPPS: performed; FIND: said twice
    Column("arrivals", Integer, nullable=False),  # FIND: of the study, when the PACS was asked
    Column("at", Float, nullable=False),
)

job = Table(
    "job",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("study_instance_uid", UID, ForeignKey(study.c.study_instance_uid), index=True),
    Column("generation", Integer, nullable=False),
    Column("model_name", NAME, nullable=False),
    Column("model_version", NAME, nullable=False),
    Column("bundle_sha256", SHA256, nullable=False),
    Column("config_sha256", SHA256, nullable=False),
    Column("input_sha256", SHA256, nullable=False),
    Column("inputs", JSON, nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("reason", REASON, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("token", String(36), nullable=False),  # of the claim that holds it; empty: nobody
    Column("beat", Integer, nullable=False),  # grows while the claim lives
    Column("opened_at", Float, nullable=False, index=True),
    Column("updated_at", Float, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("summary", JSON, nullable=False),  # what the pages show of the analysis
    # the HTML report in the store; empty: none
    Column("report_sha256", SHA256, nullable=False, index=True),
    Column("answered", REASON, nullable=False),  # the reason that was sent instead of a result
    Column("rejected", Boolean, nullable=False),  # by a reader: what was sent is to be retracted
    UniqueConstraint("study_instance_uid", "generation", "model_name", "model_version"),
)

Index(
    "ix_job_unanswered",
    job.c.opened_at,
    job.c.state,
    sqlite_where=job.c.answered != job.c.reason,
    postgresql_where=job.c.answered != job.c.reason,
)
Index(
    "ix_job_rejected",
    job.c.opened_at,
    sqlite_where=job.c.rejected == true(),
    postgresql_where=job.c.rejected,
)

strike = Table(
    "strike",
    metadata,
    Column("bundle_sha256", SHA256, primary_key=True),
    Column("study_instance_uid", UID, primary_key=True),
    Column("job_id", String(36), ForeignKey(job.c.id), nullable=False),
)
"""Studies that a model left in quarantine since it last worked; see ``breaker``."""

selection = Table(
    "selection",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_instance_uid", UID, ForeignKey(study.c.study_instance_uid)),
    Column("generation", Integer, nullable=False),
    Column("model_name", NAME, nullable=False),
    Column("model_version", NAME, nullable=False),
    Column("series_instance_uid", UID, nullable=False),
    Column("series_description", String(64), nullable=False),
    Column("modality", String(16), nullable=False),
    Column("images", Integer, nullable=False),
    Column("taken", Boolean, nullable=False),
    Column("reason", String(256), nullable=False),
    Index("ix_selection_study", "study_instance_uid", "generation"),
)

result = Table(
    "result",
    metadata,
    Column("sop_instance_uid", UID, primary_key=True),
    Column("job_id", String(36), ForeignKey(job.c.id), index=True),
    Column("sop_class_uid", UID, nullable=False),
    Column("series_instance_uid", UID, nullable=False),
    Column("series_description", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("position", Integer, nullable=False),
    Column("sha256", SHA256, nullable=False, index=True),  # empty: it was removed
    Column("size_bytes", Integer, nullable=False),
    Column("superseded_by", String(36), nullable=False),  # the job that answers anew; empty: stands
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("job_id", String(36), ForeignKey(job.c.id)),
    Column("sop_instance_uid", UID, ForeignKey(result.c.sop_instance_uid), nullable=False),
    Column("destination", String(32), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("reason", REASON, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("token", String(36), nullable=False),
    Column("beat", Integer, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("proof", String(16), nullable=False, server_default="", index=True),  # to be asked next
    Column("asked", Integer, nullable=False, server_default="0"),  # for that proof, so far
    Column("lost", Integer, nullable=False, server_default="0"),  # how often it was not there
    Column("transaction_uid", UID, nullable=False, server_default="", index=True),
    UniqueConstraint("sop_instance_uid", "destination"),
    Index("ix_delivery_job_id_state", "job_id", "state"),
)

review = Table(
    "review",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job_id", String(36), ForeignKey(job.c.id), index=True),
    Column("reader", NAME, nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("comment", Text, nullable=False),
    Column("at", Float, nullable=False),
)

role = Table(
    "role",
    metadata,
    Column("name", NAME, primary_key=True),  # listen, sweep, web, worker analyse, ...
    Column("host", NAME, primary_key=True),
    Column("started_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
)

event = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("study_instance_uid", UID, nullable=False, index=True),
    Column("job_id", String(36), nullable=False),
    Column("action", String(32), nullable=False),
    Column("reason", REASON, nullable=False),
)

removal = Table(
    "removal",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("study_instance_uid", UID, nullable=False, index=True),
    Column("reason", REASON, nullable=False),
    Column("instances", Integer, nullable=False),
    Column("results", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),  # of both
)
"""What was removed, and why: never deleted, and nothing in it names a patient."""

erasure = Table(
    "erasure",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("pack", String(64), nullable=False, index=True),  # as in ``instance``
    Column("pack_offset", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", SHA256, nullable=False),
    Column("done", Boolean, nullable=False),  # the bytes are gone, their pack is still there
)
"""Bytes that no row names any more: to be erased, and not to be taken for received ones."""
