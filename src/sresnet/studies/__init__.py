"""The paper as something to run: its tables and figures, what is measured for them, and what that says."""
