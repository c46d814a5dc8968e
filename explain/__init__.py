"""Why did the model say so: arrays in, arrays out. Knows neither the ledger nor the network."""
