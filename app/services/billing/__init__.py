"""Money between a clinic and its patients: quotes, invoices, payments, credit notes, memberships, the till."""
