"""What a table is made of: protocols, attacks to measure, robust images counted, results kept."""
