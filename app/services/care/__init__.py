"""What is done with patients: visits, problems, prescriptions, orders, and the views of them."""
