"""Names in CSV files, so that no spreadsheet takes one for a formula.

A name that starts with ``=``, ``+``, ``-``, ``@``, a tab or a line break gets an apostrophe before
it, as OWASP recommends against "CSV injection". So does one with apostrophes before such a sign:
what was written can be told from what is read.
"""

from __future__ import annotations

import re


def csv_name(name: str) -> str:
    """A name as a cell of a CSV file."""
    return f"'{name}" if re.match(r"'*[=+\-@\t\r\n]", name) else name


def name_in_csv(cell: str) -> str:
    """The name that `csv_name` made the cell of."""
    return cell[1:] if re.match(r"'+[=+\-@\t\r\n]", cell) else cell
