"""A DICOM AI node: studies in by C-STORE, coded and measured explanations back to the PACS.

One sentence holds it together: the ledger remembers, the broker only rings. Every fact is a row,
committed before anyone is told; messages carry ids and nothing else.

Four packages, one direction::

    workers ──▶ explain ─┐
       │  └───▶ reports ─┼──▶ dicom_node.domain
       └─────────────────┴──▶ dicom_node (ledger, store, send)

``dicom_node``  receives, remembers, routes, rings, sends, shows; never imports TensorFlow.
``workers``     take a job, run a model, make the results, hand them to the ledger.
``explain``     says why the model said so: arrays in, arrays out.
``reports``     turns an ``Analysis`` into DICOM objects and HTML/PDF.
"""

from importlib.metadata import version

__version__ = version("dicom-node")
