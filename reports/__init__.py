"""An Analysis in, DICOM objects and HTML/PDF out.

::

    Analysis ──▶ Case ──▶ segmentation, parametric_map ────────────┐
                  │  ├──▶ secondary_capture ───────────────────────┼──▶ structured_report
                  │  ├──▶ outlines, heat_colors, key_objects ──────┤    (refers to all of them)
                  └──┴──▶ html ──▶ pdf ──▶ encapsulated_pdf ───────┘

``writer``    runs the writers in order: ``write_results``; the page alone: ``html.report_html``.
``case``      an analysis with what every output shares: repaired headers, key slices, pictures.
``multiframe``  what SEG and Parametric Map share; ``presentation``: what presentation states share.
``identity``  patient, study, series, equipment and UIDs of every object.
``document``  what every SR shares; ``part10``, ``encoding``: the bytes of a file.
``answer``    the SR in place of a result; ``rejection``: the note that takes results back.
``language``  what all of them speak: gettext catalogues in ``locale``, numbers and dates.
"""
