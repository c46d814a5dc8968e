"""An Analysis in, DICOM objects and HTML/PDF out.

::

    Analysis ──▶ Case ──▶ segmentation ─────┐
                  │  └──▶ secondary_capture ─┼──▶ structured_report (refers to all of them)
                  └─────▶ html ──▶ pdf ──────┘

``writer``    runs the writers in order: ``write_results``; the page alone: ``html.report_html``.
``case``      an analysis with what every output shares: repaired headers, key slices, pictures.
``identity``  patient, study, series, equipment and UIDs of every object.
``answer``    the SR in place of a result; ``rejection``: the note that takes results back.
``language``  what all of them speak: gettext catalogues in ``locale``, numbers and dates.
"""
