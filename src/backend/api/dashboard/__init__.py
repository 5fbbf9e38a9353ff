"""The pages for people: pure words and judgement, templates, and the routes that join them."""
