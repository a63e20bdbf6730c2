"""How sweeps over a kernel are run: whole or in blocks of rows, on one device or several."""
