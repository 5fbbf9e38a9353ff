"""The SQL on the tables of the program; no rule of the business lives here."""
