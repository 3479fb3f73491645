"""What you open in a spreadsheet: layout, writing, recalculation, reading back. Knows no torch."""
