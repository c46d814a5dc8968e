"""The page: worklist, study, report and review for people; health and metrics for monitors.

::

    guard  ──▶ pages   GET   worklist, study, job, report
           ├─▶ forms   POST  retry a job or a delivery, review
           └─▶ status  GET   /healthz, /readyz, /metrics

``app`` puts them together. ``words`` says states and reason codes in sentences, ``answers`` what
each model says of a study, ``text`` makes strings from headers safe to show.
"""
