"""`penstock simulate`: policies against made-up and recorded loads, beside what knows the future."""
