"""What our tests, the demo and model authors need: phantoms, studies made of them, a small PACS."""
